import type { Tables } from "../ports/tables.ts";
import { tableNames } from "./tableNames.ts";

export interface Schedule {
  readonly suspended: boolean;
  /** ISO 8601 and who, of the last change; null before the first. */
  readonly changedAt: string | null;
  readonly changedBy: string | null;
}

/** Whether the scheduler is suspended; survives a restart. */
export class ScheduleStore {
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  async get(): Promise<Schedule> {
    const row = await this.#tables.get(tableNames.schedule, "schedule", "current");
    if (row === undefined) return { suspended: false, changedAt: null, changedBy: null };
    return JSON.parse(String(row.properties.schedule));
  }

  async set(schedule: Schedule): Promise<void> {
    await this.#tables.transact(tableNames.schedule, "schedule", [
      { kind: "replace", row: "current", properties: { schedule: JSON.stringify(schedule) } },
    ]);
  }
}
