// The connection: says hello, takes messages apart, comes back by itself; the token never leaves the fragment of the URL.

const KEPT = "inbeam-token";

function token() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (found) sessionStorage.setItem(KEPT, found);
  return found ?? sessionStorage.getItem(KEPT) ?? "";
}

export class Link extends EventTarget {
  #socket = null;
  #pause = 250;
  #numbers = 0;
  #asked = new Map();
  #watch = null;

  constructor(name) {
    super();
    this.name = name;
    addEventListener("online", () => this.#open());
    addEventListener("hashchange", () => this.#socket?.close());
    this.#open();
  }

  say(message) {
    if (message.kind === "watch") this.#watch = message;
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  // A change of an option; the promise is fulfilled with the answer.
  set(path, value, seen) {
    const id = ++this.#numbers;
    this.say({ kind: "set", id, path, value, ...(seen === undefined ? {} : { seen }) });
    return new Promise((resolve) => {
      this.#asked.set(id, resolve);
      setTimeout(() => this.#answer({ id, ok: false, text: "no answer: the connection may be lost" }), 15000);
    });
  }

  #answer(message) {
    this.#asked.get(message.id)?.(message);
    this.#asked.delete(message.id);
  }

  #open() {
    if (this.#socket && this.#socket.readyState <= WebSocket.OPEN) return;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/live`);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#pause = 250;
      socket.send(JSON.stringify({ kind: "hello", token: token(), name: this.name }));
      if (this.#watch) this.say(this.#watch);
    };
    socket.onmessage = (event) => this.#take(event.data);
    socket.onclose = (event) => {
      this.dispatchEvent(new CustomEvent("state", { detail: { open: false, code: event.code, reason: event.reason } }));
      setTimeout(() => this.#open(), event.code === 4401 ? 5000 : this.#pause);
      this.#pause = Math.min(2 * this.#pause, 2000);
    };
  }

  #take(data) {
    let message;
    if (typeof data === "string") message = JSON.parse(data);
    else {
      const length = new DataView(data).getUint32(0, true);
      message = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
      message.data = data;
      message.at = 4 + length;
    }
    if (message.kind === "welcome") this.dispatchEvent(new CustomEvent("state", { detail: { open: true, ...message } }));
    if (message.kind === "answer") this.#answer(message);
    this.dispatchEvent(new CustomEvent(message.kind, { detail: message }));
  }
}
