import { listRows, type Tables } from "../ports/tables.ts";
import { removeRows } from "./removal.ts";
import { tableNames } from "./tableNames.ts";

/** Nothing is exported for a metaverse object that is on hold; imports and synchronisations go on. */
export interface Hold {
  readonly metaverseId: string;
  readonly why: string;
  /** Who, as far as is known. */
  readonly by: string;
  /** ISO 8601. */
  readonly since: string;
  /** ISO 8601; null: until it is released. */
  readonly until: string | null;
}

const partition = "holds";

/** Metaverse objects on hold: few, so whoever exports reads all of them. */
export class HoldStore {
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  /** Those that hold at this time (ISO 8601), by metaverse id. */
  async active(now: string): Promise<ReadonlyMap<string, Hold>> {
    const rows = await listRows(this.#tables, tableNames.holds, { partition });
    const holds = rows.map(({ properties }) => JSON.parse(String(properties.hold)) as Hold);
    return new Map(holds.filter((hold) => isActive(hold, now)).map((hold) => [hold.metaverseId, hold]));
  }

  /** The object's hold, if there is one at this time. */
  async get(metaverseId: string, now: string): Promise<Hold | null> {
    const row = await this.#tables.get(tableNames.holds, partition, metaverseId);
    if (row === undefined) return null;
    const hold = JSON.parse(String(row.properties.hold)) as Hold;
    return isActive(hold, now) ? hold : null;
  }

  /** A later hold takes the place of an earlier one. */
  async set(hold: Hold): Promise<void> {
    await this.#tables.transact(tableNames.holds, partition, [
      { kind: "replace", row: hold.metaverseId, properties: { hold: JSON.stringify(hold) } },
    ]);
  }

  async remove(metaverseId: string): Promise<void> {
    await removeRows(this.#tables, tableNames.holds, partition, [metaverseId]);
  }

  /** Takes away those that ended before this time (ISO 8601). */
  async removeEnded(before: string): Promise<void> {
    const rows = await listRows(this.#tables, tableNames.holds, { partition });
    for (const { properties } of rows) {
      const { metaverseId, until } = JSON.parse(String(properties.hold)) as Hold;
      if (until !== null && until < before) await this.remove(metaverseId);
    }
  }
}

function isActive({ until }: Hold, now: string): boolean {
  return until === null || until > now;
}
