/** People on hold: nothing is exported for them until they are released, or the hold ends by itself. */
import { type HistoryEntry, handHistory } from "./core/history.ts";
import type { Engine } from "./engine.ts";
import { isoTime } from "./runs/engine.ts";
import type { Hold } from "./stores/holds.ts";
import { invertedTime } from "./stores/objectHistory.ts";

export class Holds {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** By time of its beginning, the newest first. */
  async list(): Promise<readonly Hold[]> {
    const holds = await this.#engine.holds.active(this.#now());
    return [...holds.values()].sort((a, b) => (a.since < b.since ? 1 : -1));
  }

  /**
   * @param until ISO 8601 and ahead; null: until released
   * @returns null when there is no such metaverse object
   */
  async hold(metaverseId: string, why: string, until: string | null, by: string): Promise<Hold | null> {
    if (!(await this.#exists(metaverseId))) return null;
    const hold = { metaverseId, why, by, since: this.#now(), until };
    await this.#engine.holds.set(hold);
    const lasts = until === null ? "until it is released" : `until ${until}`;
    await this.#remember("held", metaverseId, by, why, `Put on hold ${lasts}: nothing is exported for it.`, {
      until,
    });
    return hold;
  }

  /** @returns whether it was on hold */
  async release(metaverseId: string, by: string, why: string | null): Promise<boolean> {
    const hold = await this.#engine.holds.get(metaverseId, this.#now());
    if (hold === null) return false;
    await this.#engine.holds.remove(metaverseId);
    const message = `Released; ${hold.by} had put it on hold at ${hold.since}.`;
    await this.#remember("released", metaverseId, by, why, message, { since: hold.since });
    return true;
  }

  async #exists(metaverseId: string): Promise<boolean> {
    if (!/^[0-9a-f]{32}$/.test(metaverseId)) return false;
    // One that is deleted, and whose account is to follow, counts: it is what a hold is wanted for most.
    return (await this.#engine.metaverse.get(metaverseId)) !== undefined;
  }

  async #remember(
    kind: Extract<HistoryEntry["kind"], "held" | "released">,
    metaverseId: string,
    who: string,
    why: string | null,
    message: string,
    details: Readonly<Record<string, string | null>>,
  ): Promise<void> {
    const { audit, objectHistory, options } = this.#engine;
    const at = this.#now();
    const what = kind === "held" ? "hold" : "release";
    const id = await audit.add({ at, who, what, about: { metaverseId }, why, details });
    // Sorts as later than a run that began in the same millisecond.
    const order = `${invertedTime(options.clock.now())}!${id}`;
    await objectHistory.add([
      { metaverseId, order, since: at, entry: handHistory(kind, { at, who, why }, message) },
    ]);
  }

  #now(): string {
    return isoTime(this.#engine.options.clock.now());
  }
}
