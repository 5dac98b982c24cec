/** Requests of processes that work side by side, let through one at a time in an order that a seed decides. */
import type { Chance } from "./random.ts";

interface Turn {
  readonly process: number;
  readonly go: () => void;
}

export class Turns {
  readonly #chance: Chance;
  #waiting: Turn[] = [];

  constructor(chance: Chance) {
    this.#chance = chance;
  }

  /** Waits until the process's next request may go on. */
  wait(process: number): Promise<void> {
    return new Promise((go) => this.#waiting.push({ process, go }));
  }

  /** Lets one request through, and waits until all processes wait again. @returns its process; null: none may go */
  async next(mayGo: (process: number) => boolean): Promise<number | null> {
    const able = this.#waiting.filter(({ process }) => mayGo(process));
    if (able.length === 0) return null;
    const turn = able.length === 1 ? able[0]! : this.#chance.one(able);
    this.#waiting = this.#waiting.filter((one) => one !== turn);
    turn.go();
    // All is in memory: whatever a request sets going is over when the loop has turned once.
    await new Promise(setImmediate);
    return turn.process;
  }
}
