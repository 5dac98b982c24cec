/** What the run protocol asks of the kinds of steps, and gives them to work with. */
import type { Counters, FencedWriter } from "../stores/fence.ts";
import type { Run, RunError, StepRecord } from "../stores/runs.ts";
import type { Lease } from "./lease.ts";

/** What a handler does its work with, for one time slice of one shard. */
export interface Slice {
  readonly run: Run;
  readonly step: StepRecord;
  readonly shard: string;
  /** Where the last slice, or the last `save`, left off; null at the start. */
  readonly cursor: string | null;
  readonly writer: FencedWriter;
  readonly lease: Lease;
  /** True when the budget is used up: return `continue` at the next good place. */
  readonly overBudget: () => boolean;
  /** Whether a write to a directory that may take this long (milliseconds) would end well before the lease does. */
  mayWrite(timeoutMs: number): boolean;
  /**
   * Moves the cursor inside the slice, so that a crash repeats little, and renews the lease.
   * `statistics` are what was counted since the last `save` and stands in no fence row.
   * @throws StopRequested when somebody has asked for the run to stop.
   */
  save(cursor: string, statistics?: Counters): Promise<void>;
  /** Puts objects' errors into the run history. */
  report(errors: readonly { readonly object: string; readonly error: RunError }[]): Promise<void>;
  log(message: string): void;
  /** Aborted when the lease is lost. */
  readonly signal: AbortSignal;
}

export type SliceOutcome =
  | { readonly kind: "continue"; readonly cursor: string; readonly statistics?: Counters }
  | {
      readonly kind: "done";
      readonly statistics?: Counters;
      /** One of MIM's statuses. */
      readonly status: string;
      readonly detail?: string;
      /** Only of the first shard: the shards of a second phase, each with a message of its own. */
      readonly nextShards?: readonly string[];
      /** Only of the first shard: the shard of a third phase, which begins when all others are done. */
      readonly lastShard?: string;
      /** Nothing was written, so no partition needs to be asked for counters. */
      readonly idle?: boolean;
      /**
       * What the step has counted in its partitions, if the handler knows it and no other worker can have counted
       * since; otherwise they are asked.
       */
      readonly counted?: Counters;
    };

export type DoneOutcome = Extract<SliceOutcome, { kind: "done" }>;

export interface StepHandler {
  work(slice: Slice): Promise<SliceOutcome>;
  /**
   * How the step ends if there is nothing to do for it; null when there is, or when only the work itself can tell.
   * Asked before the lease is taken, of a step that nobody has begun: it reads a row or two and writes nothing.
   */
  idle?(run: Run, step: StepRecord): Promise<DoneOutcome | null>;
  /** What the step has counted in its partitions so far. */
  counted(run: Run, step: StepRecord): Promise<Counters>;
  /** Whether the steps after it do not depend on how it ends: the run goes on, and ends with its status. */
  standsAlone?(step: StepRecord): boolean;
  /**
   * Called when all shards are done, before the run moves on; after a crash it is called again, and two may do it at
   * once. `isCurrent`: whether the run has not moved on yet; what is read before stands for this step then.
   */
  finish?(run: Run, step: StepRecord, isCurrent: () => Promise<boolean>): Promise<void>;
}

/** Somebody asked for the run to be stopped; thrown at a checkpoint. */
export class StopRequested extends Error {
  constructor() {
    super("The run was asked to stop.");
    this.name = "StopRequested";
  }
}

/** Ends the step, and with it the run, with a status that says why. */
export class StepStopped extends Error {
  readonly status: string;

  constructor(status: string, detail: string) {
    super(detail);
    this.name = "StepStopped";
    this.status = status;
  }
}

/** Stands for one step of one run. */
export const stepKey = ({
  run,
  step,
}: {
  readonly run: Pick<Run, "id">;
  readonly step: Pick<StepRecord, "number">;
}) => `${run.id}:${step.number}`;
