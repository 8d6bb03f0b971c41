// Changes of what is being dragged: one at most is under way, the next goes out when it is answered, the last always does.

const LEAST_MS = 200; // each one is a row in the file, and up to 60 ms of every worker for large regions of 4 megapixels

export class Sender {
  #wanted = new Map();
  #under = null;
  #busy = false;
  #last = 0;

  // answered: called with the path, the answer, and whether another wish for that path waits.
  constructor(options, answered) {
    this.options = options;
    this.answered = answered;
  }

  wish(path, value) {
    this.#wanted.set(path, value);
    this.#run();
  }

  waits(path) {
    return this.#under === path || this.#wanted.has(path);
  }

  async #run() {
    if (this.#busy) return;
    this.#busy = true;
    while (this.#wanted.size) {
      const rest = this.#last + LEAST_MS - performance.now();
      if (rest > 0) await new Promise((resolve) => setTimeout(resolve, rest));
      const [path, value] = this.#wanted.entries().next().value;
      this.#wanted.delete(path);
      this.#under = path;
      this.#last = performance.now();
      const answer = await this.options.change(path, value);
      this.#under = null;
      if (!answer.ok) this.#wanted.delete(path);
      this.answered(path, answer);
    }
    this.#busy = false;
  }
}
