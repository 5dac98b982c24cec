import {
  listRows,
  type Operation,
  prefixRange,
  type Row,
  rowsOf,
  StoreError,
  type Tables,
} from "../ports/tables.ts";
import type { Counters } from "./fence.ts";
import { transactionsOf } from "./limits.ts";
import { tableNames } from "./tableNames.ts";
import { decodeText, encodeTexts, longText, longTextOf } from "./texts.ts";

export type StepType =
  | "fullImport"
  | "deltaImport"
  | "fullSync"
  | "deltaSync"
  | "export"
  /** A full synchronisation of a comparison of rules: nothing of it becomes real. */
  | "rulesDiff"
  | "rulesEffects";
export type Trigger = "timer" | "http" | "cli" | "start";

/** Somebody's decision that exactly one export plan is to be exported. */
export interface Approval {
  /** Of the plan. */
  readonly hash: string;
  readonly why: string | null;
  readonly by: string | null;
  /** ISO 8601. */
  readonly at: string;
}
/** What a person wants done with one object by hand; the step, a synchronisation, does this and nothing else. */
export type ObjectOrder = {
  /** The connector space object's id. */
  readonly object: string;
} & (
  | { readonly kind: "join"; readonly metaverseId: string }
  | { readonly kind: "disconnect"; readonly as: "explicit" | "normal" }
  | { readonly kind: "synchronize" | "retry" }
);

/** One step of a run. `status` is one of MIM's (SEMANTICS H4); "waiting" before it has begun. */
export interface StepRecord {
  readonly number: number;
  readonly connector: string;
  readonly profile: string;
  readonly type: StepType;
  readonly order?: ObjectOrder;
  readonly status: string;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly statistics: Counters;
  /** Of a synchronisation: what it counted at its targets, by connector. */
  readonly outbound?: Readonly<Record<string, Counters>>;
  /** What else a person should know: why a delta import was full, why the step stopped. */
  readonly detail: string | null;
}

export interface Run {
  /** Sorts newest first: it begins with inverted time. */
  readonly id: string;
  readonly trigger: Trigger;
  /** Who asked for it, as far as the caller said. */
  readonly startedBy: string | null;
  /** The name of the cycle; null for a run of one profile. */
  readonly cycle: string | null;
  readonly status: string;
  readonly startedAt: string;
  readonly endedAt: string | null;
  /** Index into `steps`. */
  readonly currentStep: number;
  /** The shard whose message moved the run to the current step, and so owes that step's first message. */
  readonly advancedBy?: string;
  readonly steps: readonly StepRecord[];
  /** The version of the rule set that every message of this run works with. */
  readonly rulesVersion: string;
  readonly stopRequested: boolean;
  /** Of a run that exports an approved plan. */
  readonly approval: Approval | null;
}

export interface StoredRun {
  readonly run: Run;
  readonly etag: string;
}

/** What a run occupies while it is open. A synchronisation excludes every other run of the deployment. */
export interface Occupancy {
  readonly runId: string;
  readonly connectors: readonly string[];
  readonly exclusive: boolean;
}

interface Admission {
  readonly active: readonly Occupancy[];
  /** A cycle that the timer wanted to start while another run was open; at most one. It stands until it is begun. */
  readonly queuedCycle: string | null;
  readonly pause?: Pause;
}

/** Work on the tables that is no run, while which no run may begin. */
export interface Pause {
  /** Whose it is: only they may prolong it. */
  readonly by: string;
  /** A sentence for those who are refused meanwhile. */
  readonly why: string;
  /** Milliseconds since 1970: whoever dies of it keeps runs from beginning no longer. */
  readonly until: number;
}

/** Another run occupies what this one needs, or all runs wait. */
export class RunInTheWay extends Error {
  /** Null: it is no run. */
  readonly runId: string | null;

  constructor(runId: string | null, message = `Run ${runId} is in progress.`) {
    super(message);
    this.name = "RunInTheWay";
    this.runId = runId;
  }
}

const partition = "runs";
const admissionRow = "admission";
const runRow = (id: string) => `run|${id}`;
const openRow = (id: string) => `open|${id}`;

/** An id whose ascending order is newest first. `random`: 6 hex digits. */
export function newRunId(now: Date, random: string): string {
  return `${String(9_999_999_999_999 - now.getTime()).padStart(13, "0")}-${random}`;
}

/** Runs, and which of them are open. A run begins and ends in one transaction with its place among the open ones. */
export class RunStore {
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  async get(id: string): Promise<StoredRun | undefined> {
    if (!/^[\w-]+$/.test(id)) return undefined;
    const row = await this.#tables.get(tableNames.runs, partition, runRow(id));
    return row === undefined ? undefined : { run: decodeRun(row), etag: row.etag };
  }

  /** One page, newest first. */
  async page(
    pageSize: number,
    continuation?: string,
  ): Promise<{ readonly runs: readonly Run[]; readonly continuation?: string }> {
    const query = { partition, ...prefixRange("run|"), pageSize };
    const page = await this.#tables.query(tableNames.runs, query, continuation);
    const runs = page.rows.map(decodeRun);
    return page.continuation === undefined ? { runs } : { runs, continuation: page.continuation };
  }

  /** Ids of the runs that have not ended. */
  async openIds(): Promise<string[]> {
    const rows = await listRows(this.#tables, tableNames.runs, { partition, ...prefixRange("open|") });
    return rows.map(({ row }) => row.slice("open|".length));
  }

  /** The timer's run of the cycle that waits is the one that it waits for. @throws RunInTheWay */
  async create(run: Run, occupancy: Occupancy): Promise<StoredRun> {
    for (;;) {
      const { admission, etag } = await this.#admission();
      const inTheWay = admission.active.find((other) => excludes(other, occupancy));
      if (inTheWay?.runId === run.id) {
        // It is in the tables already: of an earlier request the answer was lost.
        const created = await this.get(run.id);
        if (created !== undefined) return created;
      }
      if (inTheWay !== undefined) throw new RunInTheWay(inTheWay.runId);
      const { pause, ...rest } = admission;
      if (pause !== undefined && Date.parse(run.startedAt) < pause.until)
        throw new RunInTheWay(null, pause.why);
      const begins = run.trigger === "timer" && run.cycle === admission.queuedCycle;
      const queuedCycle = begins ? null : admission.queuedCycle;
      try {
        const [runEtag] = await this.#tables.transact(tableNames.runs, partition, [
          { kind: "insert", row: runRow(run.id), properties: encodeRun(run) },
          { kind: "insert", row: openRow(run.id), properties: {} },
          // A pause that is over is gone: whoever had it finds out that a run has begun.
          admissionOperation({ ...rest, queuedCycle, active: [...admission.active, occupancy] }, etag),
        ]);
        return { run, etag: runEtag! };
      } catch (error) {
        if (!(error instanceof StoreError) || error.kind !== "conflict") throw error;
      }
    }
  }

  /** @throws StoreError "conflict" */
  async update(stored: StoredRun, run: Run): Promise<StoredRun> {
    const [etag] = await this.#tables.transact(tableNames.runs, partition, [
      { kind: "replace", row: runRow(run.id), properties: encodeRun(run), etag: stored.etag },
    ]);
    return { run, etag: etag! };
  }

  /**
   * Ends a run and frees what it occupied.
   * @returns the cycle that waits; it stands until somebody begins it.
   * @throws StoreError "conflict" when the run has changed.
   */
  async end(stored: StoredRun, run: Run): Promise<{ readonly queuedCycle: string | null }> {
    const { admission, etag } = await this.#admission();
    const active = admission.active.filter(({ runId }) => runId !== run.id);
    await this.#tables.transact(tableNames.runs, partition, [
      { kind: "replace", row: runRow(run.id), properties: encodeRun(run), etag: stored.etag },
      { kind: "delete", row: openRow(run.id) },
      admissionOperation({ ...admission, active }, etag),
    ]);
    return { queuedCycle: admission.queuedCycle };
  }

  /** The cycle that waits for a run to end; null when none does. */
  async waitingCycle(): Promise<string | null> {
    return (await this.#admission()).admission.queuedCycle;
  }

  /** The cycle that waits is not to begin any more. */
  async forgetWaiting(): Promise<void> {
    await this.#changeAdmission((admission) =>
      admission.queuedCycle === null ? admission : { ...admission, queuedCycle: null },
    );
  }

  /** No run may begin until the pause is over. @throws RunInTheWay: a run is open, or somebody else's pause */
  async pause(pause: Pause, now: number): Promise<void> {
    await this.#changeAdmission((admission) => {
      const [open] = admission.active;
      if (open !== undefined) throw new RunInTheWay(open.runId);
      const other = admission.pause;
      if (other !== undefined && now < other.until) throw new RunInTheWay(null, other.why);
      return { ...admission, pause };
    });
  }

  /** To be called while the work lasts. @throws RunInTheWay: it was over already, and a run has begun */
  async prolong(pause: Pause): Promise<void> {
    await this.#changeAdmission((admission) => {
      if (admission.pause?.by === pause.by) return { ...admission, pause };
      throw new RunInTheWay(admission.active[0]?.runId ?? null, `A run has begun meanwhile. ${pause.why}`);
    });
  }

  /** Ends a pause; another's stays. */
  async resume(by: string): Promise<void> {
    await this.#changeAdmission((admission) => {
      const { pause, ...rest } = admission;
      return pause?.by === by ? rest : admission;
    });
  }

  /** Remembers that the timer wants this cycle as soon as the open runs have ended. */
  async queueCycle(cycle: string): Promise<void> {
    await this.#changeAdmission((admission) =>
      admission.queuedCycle === null ? { ...admission, queuedCycle: cycle } : admission,
    );
  }

  /** @param change gives the same object back when nothing is to be written */
  async #changeAdmission(change: (admission: Admission) => Admission): Promise<void> {
    for (;;) {
      const { admission, etag } = await this.#admission();
      const changed = change(admission);
      if (changed === admission) return;
      try {
        const operation = admissionOperation(changed, etag);
        await this.#tables.transact(tableNames.runs, partition, [operation]);
        return;
      } catch (error) {
        if (!(error instanceof StoreError) || error.kind !== "conflict") throw error;
      }
    }
  }

  async #admission(): Promise<{ admission: Admission; etag: string | undefined }> {
    const row = await this.#tables.get(tableNames.runs, partition, admissionRow);
    if (row === undefined) return { admission: { active: [], queuedCycle: null }, etag: undefined };
    return { admission: JSON.parse(String(row.properties.admission)), etag: row.etag };
  }
}

function excludes(a: Occupancy, b: Occupancy): boolean {
  return a.exclusive || b.exclusive || a.connectors.some((connector) => b.connectors.includes(connector));
}

function admissionOperation(admission: Admission, etag: string | undefined): Operation {
  const properties = { admission: JSON.stringify(admission) };
  return etag === undefined
    ? { kind: "insert", row: admissionRow, properties }
    : { kind: "replace", row: admissionRow, properties, etag };
}

const encodeRun = (run: Run) => {
  const steps = run.steps.map((step) => ({ ...step, detail: shortText(step.detail) }));
  return { status: run.status, ...longText("run", JSON.stringify({ ...run, steps })) };
};
export const decodeRun = (row: Row): Run => JSON.parse(longTextOf(row, "run")!);

// ---- checkpoints -----------------------------------------------------------------------------------------------

/** Where the work of (run, step, shard) stands, and who holds its lease. */
export interface Checkpoint {
  readonly seq: number;
  readonly attempt: number;
  /** Milliseconds since 1970; no message is worked on before. */
  readonly notBefore: number;
  /** "ready" to be worked on, or "done". */
  readonly state: "ready" | "done";
  /** JSON of the handler's own making; null at the start. May hold tokens, so it is never logged. */
  readonly cursor: string | null;
  readonly statistics: Counters;
  /** How the step ended in this shard; set when done. */
  readonly status: string | null;
  readonly detail: string | null;
  /** Set by the first shard when it is done: the shards of the second phase. */
  readonly nextShards: readonly string[] | null;
  /** Set with them: the shard of the third phase; null when there is none. */
  readonly lastShard: string | null;
  /** How often the work failed in a row because the world did, and what it said last. */
  readonly failures: number;
  readonly lastError: string | null;
  readonly leaseOwner: string | null;
  /** Milliseconds since 1970. */
  readonly leaseUntil: number;
  readonly epoch: number;
  /** Milliseconds since 1970. */
  readonly updatedAt: number;
  /** Of a third phase's row: the shard that found the second phase done, and so owes its message. */
  readonly createdBy?: string;
}

export interface CheckpointKey {
  readonly runId: string;
  readonly step: number;
  readonly shard: string;
}

export interface StoredCheckpoint {
  readonly key: CheckpointKey;
  readonly checkpoint: Checkpoint;
  readonly etag: string;
}

export const freshCheckpoint: Checkpoint = {
  seq: 0,
  attempt: 0,
  notBefore: 0,
  state: "ready",
  cursor: null,
  statistics: {},
  status: null,
  detail: null,
  nextShards: null,
  lastShard: null,
  failures: 0,
  lastError: null,
  leaseOwner: null,
  leaseUntil: 0,
  epoch: 0,
  updatedAt: 0,
};

const checkpointRow = (step: number, shard: string) => `c|${String(step).padStart(3, "0")}|${shard}`;

export class CheckpointStore {
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  async get(key: CheckpointKey): Promise<StoredCheckpoint | undefined> {
    const row = await this.#tables.get(tableNames.checkpoints, key.runId, checkpointRow(key.step, key.shard));
    return row === undefined ? undefined : await this.#decode(row);
  }

  /** The checkpoints of one step, in order of shard; or of a whole run. */
  async list(runId: string, step?: number): Promise<StoredCheckpoint[]> {
    const prefix = step === undefined ? "c|" : checkpointRow(step, "");
    const rows = await listRows(this.#tables, tableNames.checkpoints, {
      partition: runId,
      ...prefixRange(prefix),
    });
    return Promise.all(rows.map((row) => this.#decode(row)));
  }

  /**
   * Creates the rows that do not exist yet; the others stay as they are.
   * @returns whether none existed: then nobody has begun with any of them
   */
  async createMissing(
    runId: string,
    step: number,
    shards: readonly string[],
    now: number,
    createdBy?: string,
  ): Promise<boolean> {
    const fresh = { ...freshCheckpoint, updatedAt: now, ...(createdBy !== undefined && { createdBy }) };
    const { properties } = encodeCheckpoint(fresh);
    const insert = (shard: string): Operation => ({
      kind: "insert",
      row: checkpointRow(step, shard),
      properties,
    });
    if (await this.#created(runId, shards.map(insert))) return true;
    const present = new Set((await this.list(runId, step)).map(({ key }) => key.shard));
    for (const shard of shards.filter((one) => !present.has(one)))
      await this.#created(runId, [insert(shard)]);
    return false;
  }

  /** All or none. @returns false when somebody has created one of them already */
  async #created(runId: string, inserts: readonly Operation[]): Promise<boolean> {
    try {
      await this.#tables.transact(tableNames.checkpoints, runId, inserts);
      return true;
    } catch (error) {
      if (!(error instanceof StoreError) || error.kind !== "conflict") throw error;
      return false;
    }
  }

  /** @throws StoreError "conflict" when the row has changed since it was read. */
  async update(stored: StoredCheckpoint, checkpoint: Checkpoint): Promise<StoredCheckpoint> {
    const { runId, step, shard } = stored.key;
    const row = checkpointRow(step, shard);
    const { properties, spillRows } = encodeCheckpoint(checkpoint);
    for (const chunk of transactionsOf(spillRows)) {
      await this.#tables.transact(tableNames.checkpoints, runId, chunk);
    }
    const operation: Operation = { kind: "replace", row, properties, etag: stored.etag };
    const [etag] = await this.#tables.transact(tableNames.checkpoints, runId, [operation]);
    return { key: stored.key, checkpoint, etag: etag! };
  }

  async #decode(row: Row): Promise<StoredCheckpoint> {
    const [, step, shard] = row.row.split("|");
    const { properties } = row;
    const rest = JSON.parse(String(properties.checkpoint));
    const cursor = await decodeText(this.#tables, tableNames.checkpoints, row, "cursor");
    return {
      key: { runId: row.partition, step: Number(step), shard: shard! },
      checkpoint: { ...rest, cursor },
      etag: row.etag,
    };
  }
}

function encodeCheckpoint({ cursor, ...rest }: Checkpoint) {
  const { properties, spillRows } = encodeTexts("cursor", { cursor });
  const short = { ...rest, detail: shortText(rest.detail), lastError: shortText(rest.lastError) };
  return { properties: { ...properties, checkpoint: JSON.stringify(short) }, spillRows };
}

// ---- errors of a run -------------------------------------------------------------------------------------------

/** One object's error in one step, as the run history shows it. */
export interface RunError {
  readonly code: string;
  readonly anchor: string | null;
  readonly dn: string | null;
  readonly rule: string | null;
  readonly attribute: string | null;
  readonly message: string;
  /** ISO 8601. */
  readonly firstOccurred: string;
  readonly retryCount: number;
  /** Where in a rules extension an exception was thrown. */
  readonly stack?: string;
}

export class HistoryStore {
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  /** Keyed by object, so a replay overwrites its own. */
  async addErrors(
    runId: string,
    step: number,
    errors: readonly { readonly object: string; readonly error: RunError }[],
  ): Promise<void> {
    const prefix = `e|${String(step).padStart(3, "0")}|`;
    const rows = new Map(errors.map(({ object, error }) => [`${prefix}${object}`, error]));
    const operations = [...rows].map(([row, error]): Operation => {
      return { kind: "replace", row, properties: { error: JSON.stringify(shortened(error)) } };
    });
    for (const chunk of transactionsOf(operations))
      await this.#tables.transact(tableNames.history, runId, chunk);
  }

  async errors(runId: string, step: number, max: number): Promise<RunError[]> {
    const prefix = `e|${String(step).padStart(3, "0")}|`;
    const query = { partition: runId, ...prefixRange(prefix), pageSize: Math.min(max, 1000) };
    const errors: RunError[] = [];
    for await (const { properties } of rowsOf(this.#tables, tableNames.history, query)) {
      errors.push(JSON.parse(String(properties.error)));
      if (errors.length === max) break;
    }
    return errors;
  }
}

/** Characters; a whole row of messages must fit into a property. */
const textMax = 2000;

function shortText<T extends string | null>(text: T): T | string {
  return text === null || text.length <= textMax ? text : `${text.slice(0, textMax)}…`;
}

function shortened(error: RunError): RunError {
  return { ...error, message: shortText(error.message) };
}
