import type { Bus, StepMessage, StepQueue } from "../ports/bus.ts";
import type { Tables } from "../ports/tables.ts";
import { StoreError } from "../ports/tables.ts";
import { addCounters, type Counters, FencedWriter, LeaseLost } from "../stores/fence.ts";
import {
  type Approval,
  type CheckpointStore,
  type HistoryStore,
  newRunId,
  type ObjectOrder,
  type Occupancy,
  type Run,
  RunInTheWay,
  type RunStore,
  type StepRecord,
  type StepType,
  type StoredCheckpoint,
  type StoredRun,
  type Trigger,
} from "../stores/runs.ts";
import { type Clock, Lease } from "./lease.ts";
import { type StepStatistics, statisticsOf } from "./outboundCounters.ts";
import {
  type DoneOutcome,
  type SliceOutcome,
  type StepHandler,
  StepStopped,
  StopRequested,
} from "./stepHandler.ts";
import { worldFailure } from "./worldFailure.ts";

/** All times in milliseconds. */
export interface Timings {
  /** How long a function works before it hands over to a successor. */
  readonly budgetMs: number;
  readonly leaseMs: number;
  /** A lease is taken over only this long after it ran out: clocks differ, and a frozen worker may thaw. */
  readonly takeoverMs: number;
  /** Waits before the same work is tried again because the world failed; after the last one the step ends. */
  readonly retryDelaysMs: readonly number[];
  /** How long a message may be missing before the watchdog sends it again. */
  readonly watchdogMs: number;
}

export const defaultTimings: Timings = {
  budgetMs: 120_000,
  leaseMs: 60_000,
  takeoverMs: 30_000,
  retryDelaysMs: [15_000, 45_000],
  watchdogMs: 60_000,
};

export interface StartRequest {
  readonly cycle: string | null;
  readonly steps: readonly {
    readonly connector: string;
    readonly profile: string;
    readonly type: StepType;
    readonly order?: ObjectOrder;
  }[];
  /** How many of the first steps have nothing to do: they count as done. Never all of them. */
  readonly settledSteps?: number;
  readonly trigger: Trigger;
  readonly startedBy?: string;
  readonly rulesVersion: string;
  readonly approval?: Approval;
}

export interface ProtocolParts {
  readonly tables: Tables;
  readonly runs: RunStore;
  readonly checkpoints: CheckpointStore;
  readonly history: HistoryStore;
  readonly bus: Bus;
  readonly clock: Clock;
  /** Hex digits for run ids and lease owners. */
  randomHex(digits: number): string;
  readonly timings: Timings;
  readonly handlers: Readonly<Record<StepType, StepHandler>>;
  /** Starts the cycle that had to wait for a run to end; two may do it at once. */
  startQueued(cycle: string): Promise<void>;
  /** Told once of each run that has ended; it must not throw. */
  onEnded?(run: Run): Promise<void>;
  log(message: string): void;
}

const firstShard = "main";

/** After these the next step is run (SEMANTICS H4); after any other status the run ends. */
const goesOn = new Set([
  "success",
  "completed-no-objects",
  "completed-warnings",
  "completed-sync-errors",
  "completed-export-errors",
  "completed-transient-objects",
]);

export function queueOf(type: StepType): StepQueue {
  if (type === "export") return "export-steps";
  return type === "fullImport" || type === "deltaImport" ? "import-steps" : "sync-steps";
}

/**
 * The run protocol (DESIGN section 3): what any message, however late or often it comes, makes the engine do.
 *
 *   start ─► checkpoint rows, run row ─► message seq 0 ─► lease ─► work ─► checkpoint seq 1 ─► message seq 1 ─► …
 *                                                                             last shard done ─► next step, or end
 *
 * State moves in the tables first and a message follows; whoever dies between the two leaves a message behind that
 * finds `row.seq = seq + 1` and sends the successor again.
 */
export class RunProtocol {
  readonly #parts: ProtocolParts;

  constructor(parts: ProtocolParts) {
    this.#parts = parts;
  }

  /** What the step has counted so far. */
  async counted(run: Run, step: StepRecord): Promise<StepStatistics> {
    const rows = await this.#parts.checkpoints.list(run.id, step.number - 1);
    return this.#statistics(run, step, rows);
  }

  async #statistics(
    run: Run,
    step: StepRecord,
    rows: readonly Pick<StoredCheckpoint, "checkpoint">[],
    counted?: Counters,
  ): Promise<StepStatistics> {
    const inPartitions = counted ?? (await this.#parts.handlers[step.type].counted(run, step));
    return statisticsOf(addCounters(inPartitions, ...rows.map(({ checkpoint }) => checkpoint.statistics)));
  }

  /** @throws RunInTheWay */
  async start(request: StartRequest): Promise<Run> {
    const { clock, runs, checkpoints } = this.#parts;
    const now = new Date(clock.now());
    const first = Math.min(request.settledSteps ?? 0, request.steps.length - 1);
    const run: Run = {
      id: newRunId(now, this.#parts.randomHex(6)),
      trigger: request.trigger,
      startedBy: request.startedBy ?? null,
      cycle: request.cycle,
      status: "in-progress",
      startedAt: now.toISOString(),
      endedAt: null,
      currentStep: first,
      steps: request.steps.map((step, index) => ({
        ...step,
        number: index + 1,
        status: index < first ? "success" : index === first ? "in-progress" : "waiting",
        startedAt: index <= first ? now.toISOString() : null,
        endedAt: index < first ? now.toISOString() : null,
        statistics: {},
        detail: null,
      })),
      rulesVersion: request.rulesVersion,
      stopRequested: false,
      approval: request.approval ?? null,
    };
    const occupancy: Occupancy = {
      runId: run.id,
      connectors: [...new Set(request.steps.map(({ connector }) => connector))],
      exclusive: request.steps.some(({ type }) => queueOf(type) === "sync-steps"),
    };
    await runs.create(run, occupancy);
    await checkpoints.createMissing(run.id, first, [firstShard], clock.now());
    await this.#send(run, first, firstShard, 0, 0);
    return run;
  }

  /** The timer's start: when another run is in the way, the cycle waits for it, at most one of them. */
  async startOrQueue(request: StartRequest & { readonly cycle: string }): Promise<Run | null> {
    try {
      return await this.start(request);
    } catch (error) {
      if (!(error instanceof RunInTheWay)) throw error;
      await this.#parts.runs.queueCycle(request.cycle);
      return null;
    }
  }

  /** Asks a run to stop at its next checkpoint. @returns the run, undefined when there is none. */
  async requestStop(runId: string): Promise<Run | undefined> {
    const stored = await this.#changeRun(runId, (run) =>
      run.stopRequested ? run : { ...run, stopRequested: true },
    );
    return stored?.run;
  }

  /** One message of a queue. @returns what happened, for the log. Throws only what the platform should redeliver. */
  async receive(message: StepMessage): Promise<string> {
    const { runs, checkpoints } = this.#parts;
    const stored = await runs.get(message.runId);
    if (stored === undefined) return "no such run: the tables are older than the queue";
    const { run } = stored;
    if (run.endedAt !== null) return "the run has ended";
    const row = await checkpoints.get(message);
    if (row === undefined || row.checkpoint.seq < message.seq) {
      await this.#endRun(
        run.id,
        "stopped-server",
        "The tables are older than the queue: they were restored or emptied.",
      );
      return "the tables are older than the queue";
    }
    const { checkpoint } = row;
    if (checkpoint.seq > message.seq + 1) return "stale";
    if (checkpoint.seq === message.seq + 1) {
      // The work is committed, but whoever did it may have died before the successor was sent. Where the successor is
      // being worked on it was; sending it once more would make every duplicate a chain of its own.
      if (checkpoint.state === "done") await this.#advance(run.id, message.step, message.shard, true);
      else if (checkpoint.leaseOwner !== null) return "done before; its successor is being worked on";
      else
        await this.#send(
          run,
          message.step,
          message.shard,
          checkpoint.seq,
          checkpoint.attempt,
          checkpoint.notBefore,
        );
      return "done before; successor sent again";
    }
    // Nobody sends the second one: the successor of a shard's last slice is no message of that shard.
    if (message.step !== run.currentStep || checkpoint.state === "done") return "stale";
    if (message.attempt < checkpoint.attempt) {
      // A later attempt was decided, but may never have been sent.
      await this.#send(
        run,
        message.step,
        message.shard,
        checkpoint.seq,
        checkpoint.attempt,
        checkpoint.notBefore,
      );
      return "a later attempt is on its way";
    }
    if (run.stopRequested) {
      await this.#endRun(run.id, "stopped-user", "Stopped by request.");
      return "stopped by request";
    }
    const now = this.#parts.clock.now();
    const heldUntil =
      checkpoint.leaseOwner === null ? 0 : checkpoint.leaseUntil + this.#parts.timings.takeoverMs;
    const earliest = Math.max(checkpoint.notBefore, heldUntil);
    if (earliest > now) {
      await this.#postpone(run, row, earliest);
      return heldUntil > now ? "the lease is held; scheduled for its end" : "too early; scheduled";
    }
    return (await this.#closeIdle(stored, row)) ?? this.#work(stored, row);
  }

  /**
   * Ends a step that has nothing to do without a lease: nobody has begun it, and by the row's ETag nobody has meanwhile.
   * @returns null when it has to be worked on
   */
  async #closeIdle(stored: StoredRun, row: StoredCheckpoint): Promise<string | null> {
    const { run } = stored;
    const { checkpoint } = row;
    const step = run.steps[row.key.step]!;
    if (row.key.shard !== firstShard || checkpoint.epoch > 0 || checkpoint.seq > 0) return null;
    let outcome: DoneOutcome | null | undefined;
    try {
      outcome = await this.#parts.handlers[step.type].idle?.(run, step);
    } catch {
      return null; // the work meets the same failure, and there is a lease to answer for it
    }
    if (outcome == null) return null;
    const { epoch, seq } = checkpoint;
    const closed = { ...doneCheckpoint(checkpoint, outcome), seq: seq + 1, epoch: epoch + 1 };
    try {
      const done = await this.#parts.checkpoints.update(row, {
        ...closed,
        updatedAt: this.#parts.clock.now(),
      });
      await this.#advance(run.id, row.key.step, firstShard, false, { stored, rows: [done] });
      return `done: ${outcome.status}`;
    } catch (error) {
      if (!(error instanceof StoreError) || error.kind !== "conflict") throw error;
      return "somebody else has taken the lease";
    }
  }

  async #work(stored: StoredRun, row: StoredCheckpoint): Promise<string> {
    const { run } = stored;
    const { checkpoints, clock, timings, handlers, tables, history } = this.#parts;
    let lease: Lease;
    try {
      lease = await Lease.take(checkpoints, clock, timings.leaseMs, row, this.#parts.randomHex(12));
    } catch (error) {
      if (!(error instanceof StoreError) || error.kind !== "conflict") throw error;
      const again = await checkpoints.get(row.key);
      if (
        again !== undefined &&
        again.checkpoint.seq === row.checkpoint.seq &&
        again.checkpoint.state === "ready"
      ) {
        await this.#postpone(run, again, again.checkpoint.leaseUntil + timings.takeoverMs);
      }
      return "somebody else has taken the lease";
    }
    const step = run.steps[row.key.step]!;
    const handler = handlers[step.type];
    const startedAt = clock.now();
    const pointless = new AbortController();
    const heartbeat = setInterval(() => {
      // A renewal that fails for another reason shows in the lease's end, which every write asks.
      lease.save({}).catch((error) => (error instanceof LeaseLost ? pointless.abort(error) : undefined));
    }, timings.leaseMs / 6);
    heartbeat.unref();
    let statistics = row.checkpoint.statistics;
    const seq = row.checkpoint.seq + 1;
    let outcome: SliceOutcome;
    try {
      outcome = await handler.work({
        run,
        step,
        shard: row.key.shard,
        cursor: row.checkpoint.cursor,
        writer: new FencedWriter(tables, lease),
        lease,
        overBudget: () => clock.now() - startedAt >= timings.budgetMs,
        mayWrite: (timeoutMs) =>
          lease.remainingMs >= Math.min(timeoutMs + timings.takeoverMs, timings.leaseMs * 0.8),
        save: async (cursor, counted = {}) => {
          statistics = addCounters(statistics, counted);
          await lease.save({ cursor, statistics, failures: 0, lastError: null });
          const now = await this.#parts.runs.get(run.id);
          if (now === undefined || now.run.stopRequested || now.run.endedAt !== null)
            throw new StopRequested();
        },
        report: (errors) => history.addErrors(run.id, row.key.step, errors),
        log: (message) => this.#parts.log(`${step.connector} ${step.profile}: ${message}`),
        signal: pointless.signal,
      });
      statistics = addCounters(statistics, outcome.statistics ?? {});
      const moved = { seq, attempt: 0, notBefore: 0, statistics, failures: 0, lastError: null };
      if (outcome.kind === "continue") {
        await lease.release({ ...moved, cursor: outcome.cursor });
      } else {
        await lease.release(doneCheckpoint(moved, outcome));
      }
    } catch (error) {
      try {
        return await this.#failed(error, run, lease);
      } catch (second) {
        if (!(second instanceof LeaseLost)) throw second;
        // If it was the hand-over whose answer got lost, the message comes again and finds it done.
        if (error instanceof StoreError) throw error;
        // Whoever has taken over meets the same failure, if it is still there.
        return second.message;
      }
    } finally {
      clearInterval(heartbeat);
    }
    // The work is committed: what fails from here on is no failure of it. The message comes again and finds it done.
    if (outcome.kind === "continue") {
      await this.#send(run, row.key.step, row.key.shard, seq, 0);
      return "continues";
    }
    // Of a step with a single shard all is known already; its run has moved on if the ETag has.
    const isWhole = row.key.shard === firstShard && !outcome.nextShards?.length && !outcome.lastShard;
    await this.#advance(
      run.id,
      row.key.step,
      row.key.shard,
      false,
      isWhole
        ? {
            stored,
            rows: [{ key: row.key, checkpoint: lease.checkpoint }],
            ...(outcome.counted && { counted: outcome.counted }),
          }
        : undefined,
    );
    return `done: ${outcome.status}`;
  }

  /** The reaction to each kind of failure; a bug is thrown on, so that the message ends in the dead letters. */
  async #failed(error: unknown, run: Run, lease: Lease): Promise<string> {
    if (error instanceof LeaseLost) return error.message;
    if (error instanceof StopRequested) {
      await lease.release({});
      await this.#endRun(run.id, "stopped-user", "Stopped by request.");
      return "stopped by request";
    }
    if (error instanceof StepStopped) {
      await lease.release({});
      await this.#endRun(run.id, error.status, error.message);
      return error.status;
    }
    const world = worldFailure(error, lease.checkpoint.cursor === null);
    const message = error instanceof Error ? error.message : String(error);
    if (world === null) {
      await lease.release({ lastError: message });
      throw error;
    }
    const { retryDelaysMs } = this.#parts.timings;
    const { failures, attempt, seq } = lease.checkpoint;
    const delay = world.retry ? retryDelaysMs[failures] : undefined;
    if (delay === undefined) {
      await lease.release({ failures: failures + 1, lastError: message });
      await this.#endRun(run.id, world.status, message);
      return world.status;
    }
    const notBefore = this.#parts.clock.now() + Math.max(delay, world.retryAfterMs ?? 0);
    await lease.release({ failures: failures + 1, lastError: message, attempt: attempt + 1, notBefore });
    await this.#send(run, lease.step, lease.shard, seq, attempt + 1, notBefore);
    return `${message} Tried again later.`;
  }

  /** Raises the attempt in the row first; otherwise duplicate detection would swallow the message. */
  async #postpone(run: Run, row: StoredCheckpoint, at: number): Promise<void> {
    const { step, shard } = row.key;
    const attempt = row.checkpoint.attempt + 1;
    try {
      await this.#parts.checkpoints.update(row, { ...row.checkpoint, attempt, notBefore: at });
    } catch (error) {
      if (!(error instanceof StoreError) || error.kind !== "conflict") throw error;
      // The row has moved meanwhile: the same question again, asked of its new state.
      const now = await this.#parts.checkpoints.get(row.key);
      if (
        now !== undefined &&
        now.checkpoint.seq === row.checkpoint.seq &&
        now.checkpoint.state === "ready"
      ) {
        return this.#postpone(run, now, at);
      }
      return;
    }
    await this.#send(run, step, shard, row.checkpoint.seq, attempt, at);
  }

  /**
   * Called whenever a shard of a step is found done: the next phase, the next step, or the end of the run.
   *
   * Who moved the state owes the messages that follow, and if it died its own message comes `again`: the first shard's
   * for the second phase, that of the shard which made the third phase's row, that of the shard which moved the run for
   * the next step. If every shard's did so, duplicates would multiply sixteenfold at each step.
   * @param known the run, all rows of the step and what its partitions have counted, as the caller has them
   */
  async #advance(
    runId: string,
    step: number,
    shard: string,
    again: boolean,
    known?: {
      readonly stored: StoredRun;
      readonly rows: readonly KnownCheckpoint[];
      readonly counted?: Counters;
    },
  ): Promise<void> {
    const { runs, checkpoints, clock, handlers } = this.#parts;
    for (let given = known; ; given = undefined) {
      const stored = given?.stored ?? (await runs.get(runId));
      if (stored === undefined || stored.run.endedAt !== null) return;
      const { run } = stored;
      if (run.currentStep === step + 1 && run.advancedBy === shard)
        return this.#sendUnstarted(run, step + 1, [firstShard]);
      if (run.currentStep !== step) return;
      const rows = given?.rows ?? (await checkpoints.list(runId, step));
      const second =
        rows.find(({ checkpoint }) => checkpoint.nextShards !== null)?.checkpoint.nextShards ?? [];
      if (second.some((one) => !rows.some(({ key }) => key.shard === one))) {
        return this.#begin(run, step, second);
      }
      const last = rows.find(({ checkpoint }) => checkpoint.lastShard !== null)?.checkpoint.lastShard ?? null;
      const open = rows.filter(({ checkpoint }) => checkpoint.state !== "done");
      if (open.length > 0) {
        const third = rows.find(({ key }) => key.shard === last);
        if (again && third?.checkpoint.createdBy === shard) await this.#sendUnstarted(run, step, [last!]);
        else if (again && shard === firstShard) await this.#sendUnstarted(run, step, second);
        return;
      }
      if (last !== null && !rows.some(({ key }) => key.shard === last)) {
        return this.#begin(run, step, [last], shard);
      }

      const record = run.steps[step]!;
      const idle = rows.every(({ checkpoint }) => checkpoint.cursor === "idle");
      const counted = idle ? { statistics: {} } : await this.#statistics(run, record, rows, given?.counted);
      if (!idle) {
        await handlers[record.type].finish?.(run, record, async () => {
          const now = await runs.get(runId);
          return now !== undefined && now.run.endedAt === null && now.run.currentStep === step;
        });
      }
      const statuses = rows.map(({ checkpoint }) => checkpoint.status ?? "success");
      const status =
        statuses.find((one) => !goesOn.has(one)) ?? statuses.find((one) => one !== "success") ?? "success";
      const ended: StepRecord = {
        ...record,
        status,
        endedAt: new Date(clock.now()).toISOString(),
        ...counted,
        detail: rows.find(({ checkpoint }) => checkpoint.detail !== null)?.checkpoint.detail ?? null,
      };
      const steps = run.steps.with(step, ended);
      const isLastStep = step === run.steps.length - 1;
      try {
        if (isLastStep || !(goesOn.has(status) || handlers[record.type].standsAlone?.(record))) {
          await this.#end(stored, { ...run, steps });
          return;
        }
        const isNew = await checkpoints.createMissing(runId, step + 1, [firstShard], clock.now());
        const next = {
          ...steps[step + 1]!,
          status: "in-progress",
          startedAt: new Date(clock.now()).toISOString(),
        };
        const moved = { ...run, currentStep: step + 1, advancedBy: shard, steps: steps.with(step + 1, next) };
        await runs.update(stored, moved);
        if (isNew) return await this.#send(moved, step + 1, firstShard, 0, 0);
        return await this.#sendUnstarted(moved, step + 1, [firstShard]);
      } catch (error) {
        if (!(error instanceof StoreError) || error.kind !== "conflict") throw error;
      }
    }
  }

  /** Creates the rows of shards and sends their first messages. */
  async #begin(run: Run, step: number, shards: readonly string[], createdBy?: string): Promise<void> {
    const { checkpoints, clock } = this.#parts;
    const areNew = await checkpoints.createMissing(run.id, step, shards, clock.now(), createdBy);
    if (!areNew) return this.#sendUnstarted(run, step, shards);
    for (const shard of shards) await this.#send(run, step, shard, 0, 0);
  }

  /** Sends the messages of those of the shards that nobody has begun; sending one twice is harmless. */
  async #sendUnstarted(run: Run, step: number, shards: readonly string[]): Promise<void> {
    for (const { key, checkpoint } of await this.#parts.checkpoints.list(run.id, step)) {
      const { seq, attempt, notBefore, state, epoch } = checkpoint;
      if (state === "ready" && seq === 0 && epoch === 0 && shards.includes(key.shard)) {
        await this.#send(run, step, key.shard, seq, attempt, notBefore);
      }
    }
  }

  /** Ends a run now, whatever its shards are doing: their next write finds their lease gone. */
  async #endRun(runId: string, status: string, detail: string): Promise<void> {
    for (;;) {
      const stored = await this.#parts.runs.get(runId);
      if (stored === undefined || stored.run.endedAt !== null) return;
      const { run } = stored;
      const record = run.steps[run.currentStep]!;
      const rows = await this.#parts.checkpoints.list(runId, run.currentStep);
      for (const row of rows) await this.#revoke(row);
      const counted = await this.#statistics(run, record, rows);
      const ended: StepRecord = {
        ...record,
        status,
        detail,
        endedAt: new Date(this.#parts.clock.now()).toISOString(),
        ...counted,
      };
      try {
        return await this.#end(stored, { ...run, steps: run.steps.with(run.currentStep, ended) });
      } catch (error) {
        if (!(error instanceof StoreError) || error.kind !== "conflict") throw error;
      }
    }
  }

  /** Takes the lease away from whoever is at work, so that nothing of it commits when other runs may begin. */
  async #revoke(row: StoredCheckpoint): Promise<void> {
    let found: StoredCheckpoint | undefined = row;
    while (found !== undefined && found.checkpoint.leaseOwner !== null) {
      const { checkpoint } = found;
      try {
        const revoked = { ...checkpoint, epoch: checkpoint.epoch + 1, leaseOwner: null, leaseUntil: 0 };
        await this.#parts.checkpoints.update(found, revoked);
        return;
      } catch (error) {
        if (!(error instanceof StoreError) || error.kind !== "conflict") throw error;
        found = await this.#parts.checkpoints.get(row.key);
      }
    }
  }

  async #end(stored: StoredRun, run: Run): Promise<void> {
    const statuses = run.steps.map(({ status }) => status).filter((status) => status !== "waiting");
    const status =
      statuses.find((one) => !goesOn.has(one)) ?? statuses.find((one) => one !== "success") ?? "success";
    const endedAt = new Date(this.#parts.clock.now()).toISOString();
    const steps = run.steps.map((step) =>
      step.status === "waiting" ? { ...step, status: "not-run" } : step,
    );
    const ended = { ...run, status, endedAt, steps };
    const { queuedCycle } = await this.#parts.runs.end(stored, ended);
    await this.#parts.onEnded?.(ended);
    // It waits until it is begun: whoever dies before that leaves it to the watchdog.
    if (queuedCycle !== null) await this.#parts.startQueued(queuedCycle);
  }

  /** The timer that keeps any chain from hanging silently: it sends again what should have been worked on long ago. */
  async watch(): Promise<readonly string[]> {
    const woken: string[] = [];
    const failures: unknown[] = [];
    const openIds = await this.#parts.runs.openIds();
    for (const runId of openIds) {
      try {
        woken.push(...(await this.#watchRun(runId)));
      } catch (error) {
        failures.push(error); // the other runs are not to wait for it
      }
    }
    const waiting = openIds.length === 0 ? await this.#parts.runs.waitingCycle() : null;
    if (waiting !== null) await this.#parts.startQueued(waiting);
    if (failures.length > 0) throw failures[0];
    return woken;
  }

  async #watchRun(runId: string): Promise<readonly string[]> {
    const { runs, checkpoints, clock, timings } = this.#parts;
    const stored = await runs.get(runId);
    if (stored === undefined || stored.run.endedAt !== null) return [];
    const { run } = stored;
    const rows = await checkpoints.list(runId, run.currentStep);
    if (rows.length > 0 && rows.every(({ checkpoint }) => checkpoint.state === "done")) {
      await this.#advance(runId, run.currentStep, firstShard, true);
      return [];
    }
    if (rows.length === 0 && run.advancedBy === undefined) {
      // Created, never started.
      await checkpoints.createMissing(runId, run.currentStep, [firstShard], clock.now());
      await this.#sendUnstarted(run, run.currentStep, [firstShard]);
      return [];
    }
    if (rows.length === 0) {
      const reason = "The checkpoints of the run are gone: the tables were restored.";
      await this.#endRun(runId, "stopped-server", reason);
      return [];
    }
    const woken: string[] = [];
    for (const row of rows) {
      const { state, leaseOwner, leaseUntil, notBefore, updatedAt } = row.checkpoint;
      if (state === "done") continue;
      const heldUntil = leaseOwner === null ? 0 : leaseUntil + timings.takeoverMs;
      if (clock.now() - Math.max(updatedAt, notBefore, heldUntil) < timings.watchdogMs) continue;
      await this.#postpone(run, row, clock.now());
      woken.push(`${runId} step ${run.currentStep + 1} ${row.key.shard}`);
    }
    return woken;
  }

  /**
   * A message that was delivered too often. The run ends only if it is the current one, nobody is at work, and it
   * is not merely early; a dead duplicate never kills a healthy run.
   */
  async receiveDeadLetter(message: StepMessage, reason: string): Promise<string> {
    const stored = await this.#parts.runs.get(message.runId);
    if (stored === undefined || stored.run.endedAt !== null) return "the run has ended";
    const row = await this.#parts.checkpoints.get(message);
    if (row === undefined || message.step !== stored.run.currentStep) return "stale";
    const { checkpoint } = row;
    const now = this.#parts.clock.now();
    const current =
      checkpoint.seq === message.seq &&
      checkpoint.attempt === message.attempt &&
      checkpoint.state === "ready";
    const held =
      checkpoint.leaseOwner !== null && checkpoint.leaseUntil + this.#parts.timings.takeoverMs > now;
    if (!current || held || checkpoint.notBefore > now) return "stale";
    const detail = checkpoint.lastError ?? `The message could not be worked on (${reason}).`;
    await this.#endRun(message.runId, "stopped-unexpected-error", detail);
    return "the run was ended";
  }

  async #changeRun(runId: string, change: (run: Run) => Run): Promise<StoredRun | undefined> {
    for (;;) {
      const stored = await this.#parts.runs.get(runId);
      if (stored === undefined || stored.run.endedAt !== null) return stored;
      const changed = change(stored.run);
      if (changed === stored.run) return stored;
      try {
        return await this.#parts.runs.update(stored, changed);
      } catch (error) {
        if (!(error instanceof StoreError) || error.kind !== "conflict") throw error;
      }
    }
  }

  async #send(
    run: Run,
    step: number,
    shard: string,
    seq: number,
    attempt: number,
    notBefore = 0,
  ): Promise<void> {
    const message = { runId: run.id, step, shard, seq, attempt };
    const at = notBefore > this.#parts.clock.now() ? new Date(notBefore) : undefined;
    await this.#parts.bus.send(queueOf(run.steps[step]!.type), message, at);
  }
}

type KnownCheckpoint = Pick<StoredCheckpoint, "key" | "checkpoint">;

/** What a row becomes, beside its number, when the work of its shard is done. */
function doneCheckpoint<T extends object>(before: T, outcome: DoneOutcome) {
  return {
    ...before,
    state: "done" as const,
    cursor: outcome.idle ? "idle" : null,
    status: outcome.status,
    detail: outcome.detail ?? null,
    nextShards: outcome.nextShards ?? null,
    lastShard: outcome.lastShard ?? null,
  };
}
