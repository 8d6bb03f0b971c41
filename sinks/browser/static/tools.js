// Small things that every panel uses.

export function make(tag, about = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(about)) {
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function choice(options, chosen, changed) {
  const made = make("select", { onchange: () => changed(made.value) });
  fill(made, options, chosen);
  return made;
}

// Keeps what is chosen if it is still there.
export function fill(select, options, chosen = select.value) {
  const wanted = options.map((each) => (Array.isArray(each) ? each : [each, each]));
  const same = wanted.length === select.options.length && wanted.every(([value], at) => select.options[at].value === value);
  if (!same) select.replaceChildren(...wanted.map(([value, text]) => make("option", { value, text })));
  if (wanted.some(([value]) => value === chosen)) select.value = chosen;
}

export function labelled(text, ...inside) {
  return make("label", {}, text, ...inside);
}

export function number(value, digits = 5) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return String(value);
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(digits - 1) : String(Number(value.toPrecision(digits)));
}

export function save(name, content, kind = "text/plain") {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type: kind }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

export function csv(names, columns) {
  const quoted = names.map((name) => (/[",\n]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name));
  const rows = [quoted.join(",")];
  for (let at = 0; at < (columns[0]?.length ?? 0); at++) rows.push(columns.map((column) => column[at] ?? "").join(","));
  return rows.join("\n") + "\n";
}

// What this browser remembers between visits.
export function kept(key, initial) {
  try {
    const found = localStorage.getItem(`inbeam ${key}`);
    return found === null ? initial : JSON.parse(found);
  } catch {
    return initial;
  }
}

export function keep(key, value) {
  try {
    localStorage.setItem(`inbeam ${key}`, JSON.stringify(value));
  } catch { /* a private window: nothing is remembered */ }
}
