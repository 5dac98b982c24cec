import { disconnectedByHand, joinedByHand, retried } from "../core/byHand.ts";
import type { Configuration } from "../core/configuration.ts";
import { shardOf, shards } from "../core/identity.ts";
import type { ConnectorSpaceObject, MetaverseObject } from "../core/model.ts";
import { isUnsent } from "../core/outbound.ts";
import { synchronizationKey } from "../core/ruleVersions.ts";
import { addCounters, type Counters } from "../stores/fence.ts";
import type { ObjectOrder, Run, StepRecord } from "../stores/runs.ts";
import { chunked } from "../stores/texts.ts";
import { after, batches } from "./batches.ts";
import { type EngineParts, isoTime } from "./engine.ts";
import { Flowing } from "./flowing.ts";
import { markedShards } from "./markedShards.ts";
import { peopleFrom } from "./orphans.ts";
import { Placing } from "./placing.ts";
import { type ReindexingCursor, reindex, reindexingOf } from "./reindexing.ts";
import {
  type DoneOutcome,
  type Slice,
  type SliceOutcome,
  type StepHandler,
  StepStopped,
} from "./stepHandler.ts";
import { type JobSlice, SyncContext, type SyncObserver } from "./syncContext.ts";

interface PlacingCursor {
  readonly phase: "due" | "place";
  /** What is to be indexed before anything is placed. */
  readonly reindexing?: ReindexingCursor | null;
  readonly full: boolean;
  readonly detail: string | null;
  readonly shard: string;
  /** Ids below have been dealt with. */
  readonly from: string;
  /** Shards that have work for the flowing phase. */
  readonly flow: string;
  /** About how many metaverse objects that is; unknown in a full synchronisation, where all of them flow. */
  readonly work?: number;
  /** Whether a rules extension has failed for any object so far. */
  readonly failed: boolean;
}

interface FlowingCursor {
  readonly full: boolean;
  /** Of those that one message is for. */
  readonly shard: string;
  readonly from: string;
  /** Whether any object has failed so far. */
  readonly failed: boolean;
}

interface ReferencesCursor {
  readonly round: number;
  readonly failed: boolean;
}

/** The third phase, of one worker (MIM: completing-referential-updates). */
const referencesShard = "references";
/** More rounds than there are links in any chain of rules that ends. */
const referenceRoundsMax = 10;
const nothingToDo: DoneOutcome = { kind: "done", status: "success", idle: true };
const placingBatch = 1000;
const flowingBatch = 100;

/**
 * Synchronisation (DESIGN section 4): one worker places objects that are linked to nothing, then one
 * worker per shard lets values flow through the metaverse objects of its shard.
 */
export class SyncStep implements StepHandler {
  readonly #parts: EngineParts;

  constructor(parts: EngineParts) {
    this.#parts = parts;
  }

  async idle({ rulesVersion }: Run, { connector, type, order }: StepRecord): Promise<DoneOutcome | null> {
    if (type !== "deltaSync" || order !== undefined) return null;
    const { importShards, nextDue, synchronizedRules } = await this.#parts.state.get(connector);
    const due = nextDue !== null && nextDue <= isoTime(this.#parts.clock.now());
    if (importShards !== "" || due) return null;
    // With other rules, or where a directory does not tell its schema, there is work.
    const configuration = await this.#parts.configuration(rulesVersion);
    return synchronizedRules === synchronizationKey(configuration, connector) ? nothingToDo : null;
  }

  async work(slice: Slice): Promise<SliceOutcome> {
    const configuration = await this.#parts.configuration(slice.run.rulesVersion);
    if (slice.shard === "main" && slice.cursor === null)
      await this.#assertTakenIn(slice.step.connector, configuration);
    const job = new SyncJob(this.#parts, slice, configuration);
    if (slice.shard === referencesShard) return job.followReferences();
    if (slice.shard !== "main") return job.flow();
    return slice.step.order === undefined ? job.place() : job.carryOut(slice.step.order);
  }

  /**
   * People whose source was emptied by hand are not gone: their source comes first, imported and then synchronised.
   * @throws StepStopped
   */
  async #assertTakenIn(connector: string, configuration: Configuration): Promise<void> {
    for (const source of peopleFrom(configuration)) {
      const { emptiedAt, fullImportAt } = await this.#parts.state.get(source);
      if (emptiedAt === null || (source === connector && fullImportAt !== null)) continue;
      const wanted = fullImportAt === null ? "import it in full, and synchronise it" : "synchronise it";
      throw new StepStopped(
        "no-start-full-import-required",
        `The connector space of ${source} was emptied at ${emptiedAt}: first ${wanted}, or its people would be taken for gone. Nothing was synchronised.`,
      );
    }
  }

  async counted(
    run: { readonly id: string },
    step: { readonly connector: string; readonly number: number },
  ): Promise<Counters> {
    const connectors = new Set([step.connector, ...this.#parts.targets()]);
    const of = { runId: run.id, step: step.number - 1 };
    const counted = [...connectors].map((name) => this.#parts.connectorSpace.counted(name, of));
    return addCounters(...(await Promise.all(counted)));
  }

  async finish(
    { rulesVersion }: { readonly rulesVersion: string },
    { connector, order }: Pick<StepRecord, "connector" | "order">,
    isCurrent: () => Promise<boolean>,
  ): Promise<void> {
    if (order !== undefined) return; // of the other objects it knows nothing
    const { connectorSpace, state } = this.#parts;
    const synchronizedRules = await this.#parts.synchronizationKey(rulesVersion, connector);
    const stored = await state.read(connector);
    if (!(await isCurrent())) return;
    const importShards = await markedShards(this.#parts, connector, "import", stored.state.importShards);
    const nextDue = await connectorSpace.nextDue(connector);
    const before = stored.state;
    const emptiedAt = before.fullImportAt === null ? before.emptiedAt : null;
    if (
      before.importShards !== importShards ||
      before.nextDue !== nextDue ||
      before.emptiedAt !== emptiedAt ||
      before.synchronizedRules !== synchronizedRules
    )
      await state.replace(connector, stored, {
        ...before,
        importShards,
        nextDue,
        emptiedAt,
        synchronizedRules,
      });
  }
}

/** The work of one time slice of a synchronisation, or of a preview. */
export class SyncJob {
  readonly #context: SyncContext;
  readonly #placing: Placing;
  readonly #flowing: Flowing;

  constructor(parts: EngineParts, slice: JobSlice, configuration: Configuration, observer?: SyncObserver) {
    this.#context = new SyncContext(parts, slice, configuration, observer);
    this.#placing = new Placing(this.#context);
    this.#flowing = new Flowing(this.#context);
  }

  get #key(): string {
    return synchronizationKey(this.#context.configuration, this.#context.connector);
  }

  /** One object on its way through both phases, as a step takes it there. */
  async synchronizeOne(id: string, full: boolean): Promise<void> {
    await this.#placing.attempt([id], full, true);
    const stored = await this.#context.parts.connectorSpace.get(this.#context.connector, id);
    const metaverseId = stored?.object.metaverseId ?? stored?.object.linking ?? null;
    if (metaverseId === null) return;
    const metaverse = await this.#context.parts.metaverse.getMany([metaverseId]);
    await this.#flowing.attempt([metaverseId], metaverse, full ? "all" : "flow");
  }

  #lastShard(): { readonly lastShard?: string } {
    return this.#context.followsReferences ? { lastShard: referencesShard } : {};
  }

  async place(): Promise<SliceOutcome> {
    const state = await this.#context.parts.state.get(this.#context.connector);
    let cursor: PlacingCursor;
    if (this.#context.slice.cursor !== null) cursor = JSON.parse(this.#context.slice.cursor);
    else {
      const rulesChanged = state.synchronizedRules !== this.#key;
      const full = this.#context.slice.step.type === "fullSync" || rulesChanged;
      const due = state.nextDue !== null && state.nextDue <= isoTime(this.#context.nowMs);
      if (!full && state.importShards === "" && !due) return nothingToDo;
      const detail =
        full && this.#context.slice.step.type === "deltaSync"
          ? "The rules are not those of the last synchronisation: a full synchronisation was made."
          : null;
      cursor = {
        phase: due && !full ? "due" : "place", // in a full synchronisation what is due flows with the rest
        full,
        detail,
        shard: shards[0]!,
        from: "",
        flow: "",
        failed: false,
        reindexing: full
          ? await reindexingOf(this.#context.parts, this.#context.configuration, this.#context.connector)
          : null,
      };
    }
    if (cursor.reindexing != null) {
      const reindexing = await this.#reindex(cursor, cursor.reindexing);
      cursor = { ...cursor, reindexing };
      if (reindexing !== null) return { kind: "continue", cursor: JSON.stringify(cursor) };
    }
    if (cursor.phase === "due") cursor = await this.#queueDue(cursor);

    const dirty = cursor.full ? shards : shards.filter((shard) => state.importShards.includes(shard));
    for (const shard of dirty.filter((one) => one >= cursor.shard)) {
      let from = shard === cursor.shard ? cursor.from : "";
      for await (const ids of this.#candidates(shard, cursor.full, from)) {
        const counted = await this.#placing.place(ids, cursor.full);
        from = after(ids.at(-1)!);
        cursor = {
          ...cursor,
          shard,
          from,
          flow: merge(cursor.flow, counted.flow),
          work: (cursor.work ?? 0) + counted.flow.length,
          failed: cursor.failed || counted.failed,
        };
        await this.#context.slice.save(JSON.stringify(cursor), counted.statistics);
        if (this.#context.slice.overBudget()) return { kind: "continue", cursor: JSON.stringify(cursor) };
      }
    }
    const nextShards = cursor.full
      ? this.#messages(shards, await this.#context.parts.metaverse.objectCountAbout())
      : this.#messages([...cursor.flow], cursor.work ?? 0);
    return {
      kind: "done",
      status: cursor.failed ? "completed-sync-errors" : "success",
      ...(cursor.detail === null ? {} : { detail: cursor.detail }),
      nextShards,
      ...(nextShards.length > 0 && this.#lastShard()),
    };
  }

  /** @returns where it stands when its time is over */
  #reindex(cursor: PlacingCursor, from: ReindexingCursor): Promise<ReindexingCursor | null> {
    const goOn = async (reindexing: ReindexingCursor) => {
      await this.#context.slice.save(JSON.stringify({ ...cursor, reindexing }));
      return !this.#context.slice.overBudget();
    };
    return reindex(this.#context.parts, this.#context.configuration, this.#context.connector, from, goOn);
  }

  /** Objects whose outcome time alone has changed are queued like changed ones. */
  async #queueDue(cursor: PlacingCursor): Promise<PlacingCursor> {
    const { connectorSpace, metaverse } = this.#context.parts;
    let { flow, failed, work: queued = 0 } = cursor;
    for (const shard of shards) {
      const ids = await connectorSpace.dueIds(this.#context.connector, shard, isoTime(this.#context.nowMs));
      const found = [...(await connectorSpace.getMany(this.#context.connector, ids)).values()];
      const work = found.flatMap(({ object }) => object.metaverseId ?? object.linking ?? []);
      await metaverse.addWork(this.#context.slice.writer, work);
      flow = merge(flow, work.map(shardOf).join(""));
      queued += work.length;
      const unlinked = found.filter(({ object }) => object.metaverseId === null && object.linking === null);
      for (const chunk of chunked(unlinked, () => 1, placingBatch)) {
        const placed = await this.#placing.place(
          chunk.map(({ object }) => object.id),
          cursor.full,
        );
        flow = merge(flow, placed.flow);
        queued += placed.flow.length;
        failed ||= placed.failed;
      }
    }
    const placing: PlacingCursor = { ...cursor, phase: "place", flow, work: queued, failed };
    await this.#context.slice.save(JSON.stringify(placing));
    return placing;
  }

  /**
   * One object, as a person wants it. What the metaverse object shall do is queued before the object changes, so a
   * replay that finds the object changed already has nothing left to do here.
   */
  async carryOut(order: ObjectOrder): Promise<SliceOutcome> {
    const { connectorSpace, metaverse } = this.#context.parts;
    const { writer } = this.#context.slice;
    let flow =
      this.#context.slice.cursor === null
        ? ""
        : (JSON.parse(this.#context.slice.cursor) as PlacingCursor).flow;
    const queue = async (id: string): Promise<void> => {
      flow = merge(flow, shardOf(id));
      await this.#context.slice.save(JSON.stringify({ flow }));
      await metaverse.addWork(writer, [id]);
    };
    const done = (status = "success", detail?: string): SliceOutcome => ({
      kind: "done",
      status,
      ...(detail !== undefined && { detail }),
      nextShards: this.#messages([...flow], flow.length),
      ...(flow !== "" && this.#lastShard()),
    });

    const stored = await connectorSpace.get(this.#context.connector, order.object);
    if (stored === undefined) return done("completed-warnings", "The object is gone.");
    const { object } = stored;
    if (order.kind === "join") {
      const person = await metaverse.get(order.metaverseId);
      const joined = joinedByHand(object, person?.object, await this.#sentOf(person?.object));
      if ("refused" in joined) return done("completed-warnings", joined.refused);
      await queue(order.metaverseId);
      await connectorSpace.write(writer, [{ before: stored, after: joined.object }]);
      const write = { before: person!, after: joined.metaverse, id: order.metaverseId };
      await metaverse.write(writer, [write], this.#context.indexed);
      return done();
    }
    const linkedTo = object.metaverseId ?? object.linking;
    if (linkedTo !== null) await queue(linkedTo);
    if (order.kind === "disconnect") {
      const after = disconnectedByHand(object, order.as);
      if (after !== object) await connectorSpace.write(writer, [{ before: stored, after, due: null }]);
    } else if (order.kind === "retry") {
      await connectorSpace.write(writer, [{ before: stored, after: retried(object) }]);
    }
    const rulesDecide = order.kind === "disconnect" ? order.as === "normal" : linkedTo === null;
    if (!rulesDecide) return done();
    const placed = await this.#placing.place([order.object], false);
    flow = merge(flow, placed.flow);
    await this.#context.slice.save(JSON.stringify({ flow }), placed.statistics);
    return done(placed.failed ? "completed-sync-errors" : "success");
  }

  /** What this connector has of the metaverse object, without what was only provisioned: that yields to a join. */
  async #sentOf(metaverse: MetaverseObject | undefined): Promise<ConnectorSpaceObject[]> {
    const own = metaverse?.connectors.filter(({ connector }) => connector === this.#context.connector) ?? [];
    const stored = await this.#context.parts.connectorSpace.getMany(
      this.#context.connector,
      own.map(({ id }) => id),
    );
    return [...stored.values()]
      .map(({ object }) => object)
      .filter((object) => !isUnsent(object) && (object.metaverseId ?? object.linking) === metaverse?.id);
  }

  /** Ids to look at: all that are linked to nothing (full), or all with a pending import (delta). */
  async *#candidates(shard: string, full: boolean, from: string): AsyncGenerator<readonly string[]> {
    const { connectorSpace } = this.#context.parts;
    const { connector } = this.#context;
    if (full) return yield* connectorSpace.disconnectors(connector, shard, from);
    const marked = connectorSpace.marked(connector, shard, "import", from);
    for await (const batch of batches(marked, placingBatch)) yield batch.map(({ id }) => id);
  }

  /**
   * The shards by the message in which they flow: one worker works on each. A message costs a dozen requests whatever it
   * is for, so it is for several where there are few objects. A power of two, so that workers share them evenly.
   */
  #messages(flow: readonly string[], objects: number): string[] {
    const wanted = Math.max(1, objects) / this.#context.parts.objectsPerMessage;
    const messages = Math.min(flow.length, 2 ** Math.ceil(Math.log2(Math.max(1, wanted))));
    const size = Math.max(1, Math.ceil(flow.length / messages));
    return chunked(flow, () => 1, size).map((group) => group.join(""));
  }

  /** The shards that this message is for. */
  get #group(): readonly string[] {
    return [...this.#context.slice.shard];
  }

  async flow(): Promise<SliceOutcome> {
    const start = { shard: this.#group[0]!, from: "", failed: false };
    if (this.#context.slice.cursor !== null) {
      const cursor: FlowingCursor = { ...start, ...JSON.parse(this.#context.slice.cursor) };
      return cursor.full ? this.#flowAll(cursor) : this.#flowQueued(cursor);
    }
    const { type, order } = this.#context.slice.step;
    const rulesChanged =
      order === undefined &&
      (await this.#context.parts.state.get(this.#context.connector)).synchronizedRules !== this.#key;
    const full = type === "fullSync" || rulesChanged;
    return full ? this.#flowAll({ ...start, full }) : this.#flowQueued({ ...start, full });
  }

  async #flowAll(from: FlowingCursor): Promise<SliceOutcome> {
    let cursor = from;
    for await (const { statistics, failed, next } of this.#flowing.flowAll(this.#group, from)) {
      cursor = { ...cursor, failed: cursor.failed || failed };
      if (next === null) return this.#flowed(cursor, statistics);
      cursor = { ...cursor, ...next };
      await this.#context.slice.save(JSON.stringify(cursor), statistics);
      if (this.#context.slice.overBudget()) return { kind: "continue", cursor: JSON.stringify(cursor) };
    }
    return this.#flowed(cursor, {});
  }

  async #flowed(cursor: FlowingCursor, statistics: Counters): Promise<SliceOutcome> {
    if (cursor.full) await this.#forgetWork();
    return { kind: "done", statistics, status: cursor.failed ? "completed-sync-errors" : "success" };
  }

  async #flowQueued(from: FlowingCursor): Promise<SliceOutcome> {
    const { metaverse } = this.#context.parts;
    let cursor = from;
    let statistics: Counters = {};
    for (const shard of this.#group.slice(this.#group.indexOf(from.shard))) {
      for await (const ids of batches(
        metaverse.work(shard, shard === from.shard ? from.from : ""),
        flowingBatch,
      )) {
        const outcome = await this.#flowing.flow(ids, "flow", this.#noteFailure(cursor));
        cursor = { ...cursor, shard, from: after(ids.at(-1)!), failed: cursor.failed || outcome.failed };
        statistics = addCounters(statistics, outcome.statistics);
        // Of the last one the end of the step tells.
        if (ids.length < flowingBatch && shard === this.#group.at(-1)) break;
        await this.#context.slice.save(JSON.stringify(cursor), statistics);
        statistics = {};
        if (this.#context.slice.overBudget()) return { kind: "continue", cursor: JSON.stringify(cursor) };
      }
    }
    return this.#flowed(cursor, statistics);
  }

  #noteFailure(cursor: FlowingCursor | ReferencesCursor): () => Promise<void> {
    return async () => {
      if (!cursor.failed) await this.#context.slice.save(JSON.stringify({ ...cursor, failed: true }));
    };
  }

  /**
   * After all shards have flowed, one worker: the objects that refer to others whose link, DN or metaverse object has
   * become another. What they become may matter to those that refer to them, so it goes on until nothing changes.
   */
  async followReferences(): Promise<SliceOutcome> {
    let cursor: ReferencesCursor =
      this.#context.slice.cursor === null
        ? { round: 1, failed: false }
        : JSON.parse(this.#context.slice.cursor);
    for (;;) {
      let any = false;
      for (const shard of shards) {
        for await (const ids of batches(
          this.#context.parts.metaverse.work(shard, "", "references"),
          flowingBatch,
        )) {
          any = true;
          const outcome = await this.#flowing.flow(ids, "references", this.#noteFailure(cursor));
          cursor = { ...cursor, failed: cursor.failed || outcome.failed };
          await this.#context.slice.save(JSON.stringify(cursor), outcome.statistics);
          if (this.#context.slice.overBudget()) return { kind: "continue", cursor: JSON.stringify(cursor) };
        }
      }
      const status = cursor.failed ? "completed-sync-errors" : "success";
      if (!any) return { kind: "done", status };
      if (cursor.round === referenceRoundsMax) {
        const detail =
          "References led elsewhere again and again: two rules undo each other. The next synchronisation goes on.";
        return { kind: "done", status: cursor.failed ? status : "completed-warnings", detail };
      }
      cursor = { ...cursor, round: cursor.round + 1 };
    }
  }

  /** What an interrupted delta synchronisation had queued has flowed with all the others. */
  async #forgetWork(): Promise<void> {
    const { metaverse } = this.#context.parts;
    for (const shard of this.#group)
      for await (const ids of batches(metaverse.work(shard), flowingBatch))
        await metaverse.removeWork(this.#context.slice.writer, ids);
  }
}

function merge(a: string, b: string): string {
  return [...new Set([...a, ...b])].sort().join("");
}
