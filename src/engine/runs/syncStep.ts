import pMap from "p-map";
import { disconnectedByHand, joinedByHand, retried } from "../core/byHand.ts";
import type { Configuration } from "../core/configuration.ts";
import { FlowError } from "../core/flow.ts";
import { changeHash, syncHistory } from "../core/history.ts";
import { familyOf, shardOf, shards } from "../core/identity.ts";
import {
  asDisconnector,
  type ConnectionDecision,
  contributionsOf,
  type DisconnectorReason,
  decideConnection,
  type JoinCandidates,
  type JoinLookup,
  joinKey,
  joinLookups,
  meets,
  severalJoinRules,
  severalJoinRulesMessage,
} from "../core/inbound.ts";
import { indexedAttributes } from "../core/indexing.ts";
import { newMetaverseObject, reduceContributions } from "../core/metaverse.ts";
import {
  type ConnectorSpaceObject,
  importedImage,
  type MetaverseObject,
  type ObjectError,
  unclaimed,
} from "../core/model.ts";
import { decideOrphan, isOrphan, orphanDue } from "../core/orphans.ts";
import { isUnsent, type ReverseJoinLookup } from "../core/outbound.ts";
import { flowsReferences } from "../core/references.ts";
import { synchronizationKey } from "../core/ruleVersions.ts";
import {
  type OutboundJoin,
  type Provisioned,
  type SyncDecision,
  synchronizationError,
  synchronize,
} from "../core/synchronize.ts";
import { comparisonKey, dateTimeFromMs, dnKey, valuesOf } from "../core/values.ts";
import { StoreError } from "../ports/tables.ts";
import type { ObjectWrite, Stored } from "../stores/connectorSpace.ts";
import { addCounters, type Counters } from "../stores/fence.ts";
import type {
  IndexedAttributes,
  MetaverseWrite,
  StoredMetaverseObject,
  WorkPhase,
} from "../stores/metaverse.ts";
import type { HistoryWrite } from "../stores/objectHistory.ts";
import type { ObjectOrder, Run, RunError, StepRecord } from "../stores/runs.ts";
import { chunked } from "../stores/texts.ts";
import { batches } from "./batches.ts";
import { type EngineParts, historyOrder, isoTime } from "./engine.ts";
import { exportShards, markedShards } from "./exportStep.ts";
import { runError } from "./importStep.ts";
import { isEverybodyKnown } from "./orphans.ts";
import { outboundCounters } from "./outboundCounters.ts";
import { type DoneOutcome, type Slice, type SliceOutcome, type StepHandler, stepKey } from "./protocol.ts";
import { ReferenceLookup, referringTo } from "./references.ts";
import { type ReindexingCursor, reindex, reindexingOf } from "./reindexing.ts";

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
  /** Whether a rules extension has failed for any object so far. */
  readonly failed: boolean;
}

interface FlowingCursor {
  readonly full: boolean;
  readonly from: string;
  /** Whether any object has failed so far. */
  readonly failed: boolean;
}

interface ReferencesCursor {
  readonly round: number;
  readonly failed: boolean;
}

/** What a batch of metaverse objects flows in: a full synchronisation, a delta one, or the third phase. */
type FlowPhase = "all" | WorkPhase;

/** The third phase, of one worker (MIM: completing-referential-updates). */
const referencesShard = "references";
/** More rounds than there are links in any chain of rules that ends. */
const referenceRoundsMax = 10;
const nothingToDo: DoneOutcome = { kind: "done", status: "success", idle: true };
const placingBatch = 200;
const flowingBatch = 100;
const pointReadsMax = 64;
const conflictRetries = 5;

/** The key after all keys that begin with this id. */
const after = (id: string) => `${id}!`;

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
    const job = new SyncJob(this.#parts, slice, configuration);
    if (slice.shard === referencesShard) return job.followReferences();
    if (slice.shard !== "main") return job.flow();
    return slice.step.order === undefined ? job.place() : job.carryOut(slice.step.order);
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
    if (
      before.importShards !== importShards ||
      before.nextDue !== nextDue ||
      before.synchronizedRules !== synchronizedRules
    )
      await state.replace(connector, stored, {
        ...before,
        importShards,
        nextDue,
        synchronizedRules,
      });
  }
}

/** Who looks on while objects are placed and flow: preview tells what it has seen. */
export interface SyncObserver {
  placed(
    object: ConnectorSpaceObject,
    lookups: readonly JoinLookup[],
    candidates: JoinCandidates,
    decision: ConnectionDecision | { readonly error: ObjectError },
  ): void;
  flowed(before: MetaverseObject, objects: readonly ConnectorSpaceObject[], decision: SyncDecision): void;
}

/** What a job needs of its slice; preview has no run. */
export type JobSlice = Pick<Slice, "writer" | "save" | "report" | "overBudget" | "shard" | "cursor"> & {
  readonly run: Pick<Slice["run"], "id" | "startedAt">;
  readonly step: Pick<Slice["step"], "connector" | "type" | "number" | "order">;
};

export class SyncJob {
  readonly #parts: EngineParts;
  readonly #slice: JobSlice;
  readonly #observer: SyncObserver | undefined;
  readonly #configuration: Configuration;
  readonly #connector: string;
  readonly #nowMs: number;
  readonly #indexed: IndexedAttributes;
  readonly #followsReferences: boolean;
  #everybodyKnown: Promise<boolean> | undefined;

  constructor(parts: EngineParts, slice: JobSlice, configuration: Configuration, observer?: SyncObserver) {
    this.#parts = parts;
    this.#slice = slice;
    this.#observer = observer;
    this.#configuration = configuration;
    this.#connector = slice.step.connector;
    this.#nowMs = parts.clock.now();
    this.#indexed = indexedAttributes(configuration.metaverse);
    this.#followsReferences = flowsReferences(configuration);
  }

  get #key(): string {
    return synchronizationKey(this.#configuration, this.#connector);
  }

  get #now() {
    return dateTimeFromMs(this.#nowMs);
  }

  /** One object on its way through both phases, as a step takes it there. */
  async synchronizeOne(id: string, full: boolean): Promise<void> {
    await this.#tryPlacing([id], full);
    const stored = await this.#parts.connectorSpace.get(this.#connector, id);
    const metaverseId = stored?.object.metaverseId ?? stored?.object.linking ?? null;
    if (metaverseId === null) return;
    const metaverse = await this.#parts.metaverse.getMany([metaverseId]);
    await this.#tryFlowing([metaverseId], metaverse, full ? "all" : "flow");
  }

  #lastShard(): { readonly lastShard?: string } {
    return this.#followsReferences ? { lastShard: referencesShard } : {};
  }

  // ---- placing -------------------------------------------------------------------------------------------------

  async place(): Promise<SliceOutcome> {
    const state = await this.#parts.state.get(this.#connector);
    let cursor: PlacingCursor;
    if (this.#slice.cursor !== null) cursor = JSON.parse(this.#slice.cursor);
    else {
      const rulesChanged = state.synchronizedRules !== this.#key;
      const full = this.#slice.step.type === "fullSync" || rulesChanged;
      const due = state.nextDue !== null && state.nextDue <= isoTime(this.#nowMs);
      if (!full && state.importShards === "" && !due) return nothingToDo;
      const detail =
        full && this.#slice.step.type === "deltaSync"
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
        reindexing: full ? await reindexingOf(this.#parts, this.#configuration, this.#connector) : null,
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
      for await (const ids of batches(this.#candidates(shard, cursor.full, from), placingBatch)) {
        const counted = await this.#placeBatch(ids, cursor);
        from = after(ids.at(-1)!);
        cursor = {
          ...cursor,
          shard,
          from,
          flow: merge(cursor.flow, counted.flow),
          failed: cursor.failed || counted.failed,
        };
        await this.#slice.save(JSON.stringify(cursor), counted.statistics);
        if (this.#slice.overBudget()) return { kind: "continue", cursor: JSON.stringify(cursor) };
      }
    }
    const nextShards = cursor.full ? shards : [...cursor.flow];
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
      await this.#slice.save(JSON.stringify({ ...cursor, reindexing }));
      return !this.#slice.overBudget();
    };
    return reindex(this.#parts, this.#configuration, this.#connector, from, goOn);
  }

  /** Objects whose outcome time alone has changed are queued like changed ones. */
  async #queueDue(cursor: PlacingCursor): Promise<PlacingCursor> {
    const { connectorSpace, metaverse } = this.#parts;
    let { flow, failed } = cursor;
    for (const shard of shards) {
      const ids = await connectorSpace.dueIds(this.#connector, shard, isoTime(this.#nowMs));
      const found = [...(await connectorSpace.getMany(this.#connector, ids)).values()];
      const work = found.flatMap(({ object }) => object.metaverseId ?? object.linking ?? []);
      await metaverse.addWork(this.#slice.writer, work);
      flow = merge(flow, work.map(shardOf).join(""));
      const unlinked = found.filter(({ object }) => object.metaverseId === null && object.linking === null);
      for (const chunk of chunked(unlinked, () => 1, placingBatch)) {
        const placed = await this.#placeBatch(
          chunk.map(({ object }) => object.id),
          cursor,
        );
        flow = merge(flow, placed.flow);
        failed ||= placed.failed;
      }
    }
    const placing: PlacingCursor = { ...cursor, phase: "place", flow, failed };
    await this.#slice.save(JSON.stringify(placing));
    return placing;
  }

  // ---- by hand -------------------------------------------------------------------------------------------------

  /**
   * One object, as a person wants it. What the metaverse object shall do is queued before the object changes, so a
   * replay that finds the object changed already has nothing left to do here.
   */
  async carryOut(order: ObjectOrder): Promise<SliceOutcome> {
    const { connectorSpace, metaverse } = this.#parts;
    const { writer } = this.#slice;
    let flow = this.#slice.cursor === null ? "" : (JSON.parse(this.#slice.cursor) as PlacingCursor).flow;
    const queue = async (id: string): Promise<void> => {
      flow = merge(flow, shardOf(id));
      await this.#slice.save(JSON.stringify({ flow }));
      await metaverse.addWork(writer, [id]);
    };
    const done = (status = "success", detail?: string): SliceOutcome => ({
      kind: "done",
      status,
      ...(detail !== undefined && { detail }),
      nextShards: [...flow],
      ...(flow !== "" && this.#lastShard()),
    });

    const stored = await connectorSpace.get(this.#connector, order.object);
    if (stored === undefined) return done("completed-warnings", "The object is gone.");
    const { object } = stored;
    if (order.kind === "join") {
      const person = await metaverse.get(order.metaverseId);
      const joined = joinedByHand(object, person?.object, await this.#sentOf(person?.object));
      if ("refused" in joined) return done("completed-warnings", joined.refused);
      await queue(order.metaverseId);
      await connectorSpace.write(writer, [{ before: stored, after: joined.object }]);
      const write = { before: person!, after: joined.metaverse, id: order.metaverseId };
      await metaverse.write(writer, [write], this.#indexed);
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
    const placed = await this.#placeBatch([order.object], placingOf(order.object));
    flow = merge(flow, placed.flow);
    await this.#slice.save(JSON.stringify({ flow }), placed.statistics);
    return done(placed.failed ? "completed-sync-errors" : "success");
  }

  /** What this connector has of the metaverse object, without what was only provisioned: that yields to a join. */
  async #sentOf(metaverse: MetaverseObject | undefined): Promise<ConnectorSpaceObject[]> {
    const own = metaverse?.connectors.filter(({ connector }) => connector === this.#connector) ?? [];
    const stored = await this.#parts.connectorSpace.getMany(
      this.#connector,
      own.map(({ id }) => id),
    );
    return [...stored.values()]
      .map(({ object }) => object)
      .filter((object) => !isUnsent(object) && (object.metaverseId ?? object.linking) === metaverse?.id);
  }

  /** Ids to look at: all that are linked to nothing (full), or all with a pending import (delta). */
  async *#candidates(shard: string, full: boolean, from: string): AsyncGenerator<string> {
    if (full) yield* this.#parts.connectorSpace.disconnectors(this.#connector, shard, from);
    else
      for await (const { id } of this.#parts.connectorSpace.marked(this.#connector, shard, "import", from))
        yield id;
  }

  async #load(connector: string, ids: readonly string[]): Promise<Map<string, Stored>> {
    const { connectorSpace } = this.#parts;
    if (ids.length <= pointReadsMax) return connectorSpace.getMany(connector, ids);
    const wanted = new Set(ids);
    const found = new Map<string, Stored>();
    const sorted = [...ids].sort();
    // Many neighbours: a range read costs one request per thousand rows.
    for await (const stored of connectorSpace.range(
      connector,
      shardOf(sorted[0]!),
      sorted[0]!,
      after(sorted.at(-1)!),
    )) {
      if (wanted.has(stored.object.id)) found.set(stored.object.id, stored);
    }
    return found;
  }

  async #placeBatch(
    ids: readonly string[],
    { full }: PlacingCursor,
  ): Promise<{ readonly flow: string; readonly statistics: Counters; readonly failed: boolean }> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#tryPlacing(ids, full);
      } catch (error) {
        if (!(error instanceof StoreError) || error.kind !== "conflict" || attempt === conflictRetries)
          throw error;
      }
    }
  }

  async #tryPlacing(
    ids: readonly string[],
    full: boolean,
  ): Promise<{ readonly flow: string; readonly statistics: Counters; readonly failed: boolean }> {
    const { connectorSpace, metaverse } = this.#parts;
    const writer = this.#slice.writer;
    const stored = await this.#load(this.#connector, ids);
    const work = new Set<string>();
    const unlinked: Stored[] = [];
    for (const id of ids) {
      const one = stored.get(id);
      if (one === undefined) continue;
      if (one.object.metaverseId !== null) work.add(one.object.metaverseId);
      else if (await this.#intentStands(one.object)) work.add(one.object.linking!);
      else unlinked.push(one);
    }

    // Metaverse objects as this batch leaves them: two objects of one batch must be able to meet in one person.
    const placed = new Map<
      string,
      { readonly before: StoredMetaverseObject | null; readonly after: MetaverseObject }
    >();
    const intents: ObjectWrite[] = [];
    const remains: (ObjectWrite & { readonly counters: Counters })[] = [];
    const errors: { readonly object: string; readonly error: RunError }[] = [];
    let statistics: Counters = {};
    let failed = false;
    const candidatesOf = await this.#lookUp(unlinked.map(({ object }) => object));
    for (const one of unlinked) {
      const object: ConnectorSpaceObject = { ...one.object, linking: null };
      const lookups = joinLookups(object, this.#configuration);
      const candidates = new Map(
        lookups.map((lookup) => {
          const inStore = (candidatesOf.get(lookupKey(lookup)) ?? []).filter(
            ({ object: found }) => !placed.has(found.id) && meets(found, lookup),
          );
          const inBatch = [...placed.values()].filter(({ after: found }) => meets(found, lookup));
          return [
            joinKey(lookup),
            [...inStore.map((found) => found.object.id), ...inBatch.map((found) => found.after.id)],
          ];
        }),
      );
      const decision = this.#decideConnection(object, candidates, (id) => {
        const inStore = [...candidatesOf.values()].flat().find(({ object: found }) => found.id === id);
        return placed.get(id)?.after ?? inStore?.object;
      });
      this.#observer?.placed(object, lookups, candidates, decision);
      if ("error" in decision) {
        remains.push({
          before: one,
          after: stillPending(object, { ...object, pendingExport: null }, decision.error),
          counters: { flowFailure: 1 },
        });
        errors.push({ object: object.id, error: runError(decision.error, object) });
        failed = true;
        continue;
      }
      if (decision.kind === "disconnector") {
        const error = this.#placingError(object, decision, candidates);
        const disconnector = asDisconnector(object, decision.reason);
        // Pending until it is solved: each synchronisation tries again.
        const afterwards =
          disconnector === null
            ? null
            : error === null
              ? await this.#orphaned(object, disconnector, decision.reason)
              : stillPending(object, disconnector, error);
        if (error !== null) {
          errors.push({ object: object.id, error: runError(error, object) });
          failed = true;
        }
        for (const id of await this.#unsentAt(object)) work.add(id);
        const counter = decision.reason === "filtered" ? "disconnectorFiltered" : "disconnectorRemains";
        const counters = afterwards === null ? {} : { [counter]: 1 };
        if (afterwards !== null && sameState(one.object, afterwards))
          statistics = addCounters(statistics, counters);
        else remains.push({ before: one, after: afterwards, due: this.#due(afterwards), counters });
        continue;
      }
      if (decision.kind === "stay") continue;
      const { metaverseId } = decision;
      const known = placed.get(metaverseId) ?? (await this.#existing(metaverseId, candidatesOf));
      const base = known?.after ?? newMetaverseObject(metaverseId, decision.metaverseObjectType);
      intents.push({ before: one, after: { ...unclaimed(object), linking: metaverseId } });
      placed.set(metaverseId, {
        before: known?.before ?? null,
        after: this.#firstContributions(object, {
          ...base,
          connectors: [
            ...base.connectors.filter(({ id }) => id !== object.id),
            { connector: this.#connector, id: object.id },
          ],
        }),
      });
      work.add(metaverseId);
    }

    // Commit order: the intent, then the metaverse; the link itself and the flows follow in the second phase.
    await connectorSpace.write(writer, intents);
    await metaverse.write(
      writer,
      [...placed].map(
        ([id, { before, after: object }]): MetaverseWrite => ({
          before,
          after: object,
          id,
          ...(full ? {} : { work: "add" as const }),
        }),
      ),
      this.#indexed,
    );
    if (!full)
      await metaverse.addWork(
        writer,
        [...work].filter((id) => !placed.has(id)),
      );
    await this.#markPending(remains);
    await this.#markExports(remains.flatMap(({ after: object }) => object ?? []));
    await connectorSpace.write(writer, remains);
    await this.#slice.report(errors);
    return { flow: [...work].map(shardOf).join(""), statistics, failed };
  }

  /** What failed in a full synchronisation is pending from then on, in shards that may have had nothing pending. */
  async #markPending(writes: readonly ObjectWrite[]): Promise<void> {
    const begins = writes.flatMap(({ before, after }) =>
      after !== null && after.pendingImport !== null && before?.object.pendingImport == null
        ? shardOf(after.id)
        : [],
    );
    if (begins.length > 0)
      await this.#parts.state.markDirty(this.#connector, "importShards", begins, stepKey(this.#slice));
  }

  /** A disconnector with what shall become of it when it belongs to nobody. */
  async #orphaned(
    before: ConnectorSpaceObject,
    disconnector: ConnectorSpaceObject,
    reason: DisconnectorReason,
  ): Promise<ConnectorSpaceObject> {
    const { orphans } = this.#configuration.connectors.get(this.#connector) ?? {};
    const times = isOrphan(disconnector, reason, this.#configuration) ? orphans : undefined;
    return decideOrphan({ ...disconnector, pendingExport: before.pendingExport }, times, {
      isProven: times !== undefined && (await this.#isEverybodyKnown()),
      now: isoTime(this.#nowMs),
    });
  }

  /** Whether all who could own an account of this connector are in the metaverse; asked once a time slice. */
  #isEverybodyKnown(): Promise<boolean> {
    this.#everybodyKnown ??= isEverybodyKnown(this.#parts, this.#connector, this.#configuration);
    return this.#everybodyKnown;
  }

  /** The error is that of a rules extension; the object stays as it is, and pending, for another try. */
  #decideConnection(
    object: ConnectorSpaceObject,
    candidates: JoinCandidates,
    found: (id: string) => MetaverseObject | undefined,
  ): ConnectionDecision | { readonly error: ObjectError } {
    try {
      return decideConnection(object, this.#configuration, candidates, found);
    } catch (error) {
      if (!(error instanceof FlowError)) throw error;
      return { error: synchronizationError(object, error, isoTime(this.#nowMs)) };
    }
  }

  /** Whether the metaverse object knows of an unfinished link: then it is finished, else decided anew. */
  async #intentStands(object: ConnectorSpaceObject): Promise<boolean> {
    if (object.linking === null) return false;
    const found = await this.#parts.metaverse.get(object.linking);
    return found?.object.connectors.some(({ id }) => id === object.id) ?? false;
  }

  async #existing(
    id: string,
    candidatesOf: ReadonlyMap<string, readonly StoredMetaverseObject[]>,
  ): Promise<{ readonly before: StoredMetaverseObject; readonly after: MetaverseObject } | undefined> {
    const before =
      [...candidatesOf.values()].flat().find(({ object }) => object.id === id) ??
      (await this.#parts.metaverse.get(id));
    return before === undefined ? undefined : { before, after: before.object };
  }

  /** Values enough for the objects that come after to join; the second phase decides them all anew. */
  #firstContributions(object: ConnectorSpaceObject, metaverse: MetaverseObject): MetaverseObject {
    const image = importedImage(object);
    if (image === null || Object.keys(metaverse.attributes).length > 0) return metaverse;
    try {
      const clock = { now: this.#now, random: () => this.#parts.random() };
      const contributions = contributionsOf(object, image, metaverse, this.#configuration, clock);
      return { ...metaverse, attributes: reduceContributions(contributions, {}, isoTime(this.#nowMs)) };
    } catch {
      return metaverse; // a flow that fails is that object's error in the second phase, with its message
    }
  }

  /** The first condition of each lookup is asked of the index, each value once. */
  async #lookUp(
    objects: readonly ConnectorSpaceObject[],
  ): Promise<Map<string, readonly StoredMetaverseObject[]>> {
    const lookups = new Map<string, JoinLookup>();
    for (const object of objects) {
      for (const lookup of joinLookups({ ...object, linking: null }, this.#configuration))
        lookups.set(lookupKey(lookup), lookup);
    }
    const found = await pMap(
      lookups,
      async ([key, lookup]) => {
        const { metaverseAttribute, value } = lookup.conditions[0]!;
        return [key, await this.#parts.metaverse.findByIndex(metaverseAttribute, value)] as const;
      },
      { concurrency: 16 },
    );
    return new Map(found);
  }

  /** Null: being a disconnector is no error. */
  #placingError(
    object: ConnectorSpaceObject,
    { reason, rule }: Extract<ConnectionDecision, { kind: "disconnector" }>,
    candidates: ReadonlyMap<string, readonly string[]>,
  ): ObjectError | null {
    if (reason !== "ambiguous-join" && reason !== severalJoinRules) return null;
    const found = [...candidates.values()].find(({ length }) => length > 1) ?? [];
    const message =
      reason === severalJoinRules
        ? severalJoinRulesMessage(rule ?? "")
        : `Join rule matched several metaverse objects: ${found.join(", ")}. Make the rule more specific, or join by hand.`;
    const failure = { code: reason, message, ...(rule !== undefined && { rule }) };
    return synchronizationError(object, failure, isoTime(this.#nowMs));
  }

  /**
   * The metaverse objects for which something at the DN of this new object was provisioned and never sent: their
   * provisioning is tried again, and may mean this one (SEMANTICS S6).
   */
  async #unsentAt(object: ConnectorSpaceObject): Promise<readonly string[]> {
    if (object.pendingImport?.change !== "add") return [];
    const found = await this.#parts.connectorSpace.findByDn(this.#connector, object.dn);
    return found.flatMap(({ object: other }) =>
      other.id !== object.id && isUnsent(other) ? (other.metaverseId ?? []) : [],
    );
  }

  // ---- flowing -------------------------------------------------------------------------------------------------

  async flow(): Promise<SliceOutcome> {
    let cursor: FlowingCursor;
    if (this.#slice.cursor !== null) cursor = JSON.parse(this.#slice.cursor);
    else {
      const { type, order } = this.#slice.step;
      const rulesChanged =
        order === undefined && (await this.#parts.state.get(this.#connector)).synchronizedRules !== this.#key;
      cursor = { full: type === "fullSync" || rulesChanged, from: "", failed: false };
    }
    for await (const batch of batches(this.#toFlow(cursor), flowingBatch)) {
      const outcome = await this.#flowBatch(batch, cursor.full ? "all" : "flow");
      cursor = { ...cursor, from: after(batch.at(-1)!.id), failed: cursor.failed || outcome.failed };
      await this.#slice.save(JSON.stringify(cursor), outcome.statistics);
      if (this.#slice.overBudget()) return { kind: "continue", cursor: JSON.stringify(cursor) };
    }
    if (cursor.full) await this.#forgetWork();
    return { kind: "done", status: cursor.failed ? "completed-sync-errors" : "success" };
  }

  // ---- references ----------------------------------------------------------------------------------------------

  /**
   * After all shards have flowed, one worker: the objects that refer to others whose link, DN or metaverse object has
   * become another. What they become may matter to those that refer to them, so it goes on until nothing changes.
   */
  async followReferences(): Promise<SliceOutcome> {
    let cursor: ReferencesCursor =
      this.#slice.cursor === null ? { round: 1, failed: false } : JSON.parse(this.#slice.cursor);
    for (;;) {
      let any = false;
      for (const shard of shards) {
        for await (const ids of batches(this.#parts.metaverse.work(shard, "", "references"), flowingBatch)) {
          any = true;
          const outcome = await this.#flowBatch(
            ids.map((id) => ({ id })),
            "references",
          );
          cursor = { ...cursor, failed: cursor.failed || outcome.failed };
          await this.#slice.save(JSON.stringify(cursor), outcome.statistics);
          if (this.#slice.overBudget()) return { kind: "continue", cursor: JSON.stringify(cursor) };
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
    const { metaverse } = this.#parts;
    for await (const ids of batches(metaverse.work(this.#slice.shard), flowingBatch))
      await metaverse.removeWork(this.#slice.writer, ids);
  }

  async *#toFlow({
    full,
    from,
  }: FlowingCursor): AsyncGenerator<{ readonly id: string; readonly stored?: StoredMetaverseObject }> {
    const { metaverse } = this.#parts;
    if (full)
      for await (const stored of metaverse.range(this.#slice.shard, from))
        yield { id: stored.object.id, stored };
    else for await (const id of metaverse.work(this.#slice.shard, from)) yield { id };
  }

  async #flowBatch(
    batch: readonly { readonly id: string; readonly stored?: StoredMetaverseObject }[],
    phase: FlowPhase,
  ): Promise<{ readonly statistics: Counters; readonly failed: boolean }> {
    for (let attempt = 1; ; attempt++) {
      const again = attempt > 1 || phase !== "all";
      const metaverse = again
        ? await this.#parts.metaverse.getMany(batch.map(({ id }) => id))
        : new Map(batch.map(({ id, stored }) => [id, stored!]));
      try {
        return await this.#tryFlowing(
          batch.map(({ id }) => id),
          metaverse,
          phase,
        );
      } catch (error) {
        if (!(error instanceof StoreError) || error.kind !== "conflict" || attempt === conflictRetries)
          throw error;
      }
    }
  }

  async #tryFlowing(
    ids: readonly string[],
    metaverse: ReadonlyMap<string, StoredMetaverseObject>,
    phase: FlowPhase,
  ): Promise<{ readonly statistics: Counters; readonly failed: boolean }> {
    const objects = await this.#connected([...metaverse.values()], phase === "all");
    const adopt = await this.#adoption();
    const decisions: {
      readonly id: string;
      readonly before: StoredMetaverseObject;
      readonly decision: SyncDecision;
    }[] = [];
    for (const id of ids) {
      const before = metaverse.get(id);
      if (before === undefined) continue;
      const linked = before.object.connectors.flatMap(
        ({ connector, id: object }) => objects.get(`${connector}/${object}`) ?? [],
      );
      const own = linked.filter(({ object }) => (object.metaverseId ?? object.linking) === id);
      decisions.push({ id, before, decision: await this.#decide(before, own, objects, adopt) });
    }
    return this.#commit(ids, decisions, objects, phase);
  }

  async #decide(
    before: StoredMetaverseObject,
    linked: readonly Stored[],
    objects: Map<string, Stored>,
    adopt: Adoption,
  ): Promise<SyncDecision> {
    let current = linked.map(({ object }) => object);
    const withheld = new Map<string, string>();
    const references = new ReferenceLookup(this.#parts);
    for (;;) {
      const decision = synchronize({
        metaverse: before.object,
        objects: current,
        syncing: this.#connector,
        configuration: this.#configuration,
        now: this.#now,
        random: () => this.#parts.random(),
        withheld,
        references,
      });
      if (await references.load()) continue;
      const known = current.length + withheld.size;
      for (const wanted of [...decision.provisioned, ...decision.joins]) {
        const found = await adopt(wanted, decision.metaverse ?? before.object);
        if (found === null || current.some(({ id }) => id === found.object.id)) continue;
        if (found.object.disconnector === "explicit") {
          withheld.set(found.object.connector, found.object.dn);
          continue;
        }
        objects.set(`${found.object.connector}/${found.object.id}`, found);
        current = [...current, { ...found.object, linking: before.object.id }];
      }
      if (current.length + withheld.size === known) {
        this.#observer?.flowed(before.object, current, decision);
        return decision;
      }
    }
  }

  /** All objects that are linked to these metaverse objects, by `connector/id`. */
  async #connected(metaverse: readonly StoredMetaverseObject[], full: boolean): Promise<Map<string, Stored>> {
    const { connectorSpace } = this.#parts;
    const found = new Map<string, Stored>();
    const wanted = new Map<string, Set<string>>();
    for (const { object } of metaverse) {
      for (const { connector, id } of object.connectors) {
        const ids = wanted.get(connector) ?? new Set();
        wanted.set(connector, ids.add(id));
      }
    }
    for (const [connector, ids] of wanted) {
      const add = (stored: Stored) => {
        ids.delete(stored.object.id);
        found.set(`${connector}/${stored.object.id}`, stored);
      };
      if (full && metaverse.length > 1) {
        // Ids of one family sort alike, so the objects of these metaverse objects lie in one range of their shard.
        const from = familyOf(metaverse[0]!.object.id);
        const to = `${familyOf(metaverse.at(-1)!.object.id)}\u007f`;
        for await (const stored of connectorSpace.range(connector, this.#slice.shard, from, to)) {
          if (ids.has(stored.object.id)) add(stored);
        }
      }
      for (const stored of (await connectorSpace.getMany(connector, ids)).values()) add(stored);
    }
    return found;
  }

  /**
   * Looks for unlinked objects that a provisioning would create a second time; asks only where there are any. Explicit
   * disconnectors count: what a person has let go of is not made once more.
   */
  async #adoption(): Promise<Adoption> {
    const { connectorSpace } = this.#parts;
    const unlinked = new Map<string, boolean>();
    return async (wanted, metaverse) => {
      const { connector, lookups } = wanted;
      const provisioned = "id" in wanted ? wanted : null;
      let any = unlinked.get(connector);
      if (any === undefined) {
        const {
          disconnectors = 0,
          filteredDisconnectors = 0,
          explicitDisconnectors = 0,
        } = await connectorSpace.totals(connector);
        any = disconnectors + filteredDisconnectors + explicitDisconnectors > 0;
        unlinked.set(connector, any);
      }
      if (!any) return null;
      const free = ({ object }: Stored) =>
        object.metaverseId === null &&
        object.linking === null &&
        (provisioned !== null || object.objectType === wanted.objectType);
      if (provisioned !== null) {
        const same = await connectorSpace.get(connector, provisioned.id);
        if (same !== undefined && free(same)) return same;
      }
      for (const lookup of lookups) {
        const [first, ...others] = lookup.conditions;
        if (first === undefined) continue;
        const { connectorAttribute, value } = first;
        const found = (
          connectorAttribute === "dn"
            ? await connectorSpace.findByDn(connector, String(value))
            : await connectorSpace.findUnlinked(connector, connectorAttribute, value)
        ).filter((one) => free(one) && [first, ...others].every((condition) => holds(one.object, condition)));
        if (found.length === 1 && (await this.#isMeant(found[0]!, lookup, metaverse))) return found[0]!;
      }
      if (provisioned === null) return null;
      // The reverse join by DN (SEMANTICS R12).
      const byDn = (await connectorSpace.findByDn(connector, provisioned.dn)).filter(free);
      return byDn.length === 1 ? byDn[0]! : null;
    };
  }

  /** Whether the object that a lookup has found is meant by this person alone. */
  async #isMeant(
    { object }: Stored,
    { inbound, conditions }: ReverseJoinLookup,
    metaverse: MetaverseObject,
  ): Promise<boolean> {
    if (inbound === true) return this.#wouldJoin(object, metaverse);
    const [{ metaverseAttribute, value } = {}] = conditions;
    if (metaverseAttribute === undefined || value === undefined) return true;
    const rivals = await this.#parts.metaverse.findByIndex(metaverseAttribute, value);
    return !rivals.some(
      ({ object: rival }) =>
        rival.id !== metaverse.id &&
        meets(rival, {
          metaverseObjectType: metaverse.objectType,
          conditions: conditions.flatMap(({ metaverseAttribute: name, ...condition }) =>
            name === undefined ? [] : { ...condition, metaverseAttribute: name },
          ),
        }),
    );
  }

  /** Whether the inbound rules would join the object to this person; what a person has disconnected counts, too. */
  async #wouldJoin(object: ConnectorSpaceObject, metaverse: MetaverseObject): Promise<boolean> {
    const unlinked: ConnectorSpaceObject = { ...object, linking: null, disconnector: "normal" };
    const candidatesOf = await this.#lookUp([unlinked]);
    const known = new Map(
      [...candidatesOf.values()].flat().map(({ object: found }) => [found.id, found] as const),
    );
    known.set(metaverse.id, metaverse); // as it will be
    const candidates = new Map(
      joinLookups(unlinked, this.#configuration).map((lookup) => {
        const found = [...known.values()].filter((one) => meets(one, lookup));
        return [joinKey(lookup), found.map(({ id }) => id)];
      }),
    );
    const decision = this.#decideConnection(unlinked, candidates, (id) => known.get(id));
    return "kind" in decision && decision.kind === "join" && decision.metaverseId === metaverse.id;
  }

  async #commit(
    ids: readonly string[],
    decisions: readonly {
      readonly id: string;
      readonly before: StoredMetaverseObject;
      readonly decision: SyncDecision;
    }[],
    objects: ReadonlyMap<string, Stored>,
    phase: FlowPhase,
  ): Promise<{ readonly statistics: Counters; readonly failed: boolean }> {
    const { connectorSpace, metaverse } = this.#parts;
    const { writer } = this.#slice;
    const metaverseWrites: MetaverseWrite[] = [];
    const gone: string[] = [];
    /** Connections of the metaverse objects that some of their objects leave. */
    const left = new Map<string, MetaverseObject["connectors"]>();
    const targets: CountedWrite[] = [];
    const sources: CountedWrite[] = [];
    const errors: { readonly object: string; readonly error: RunError }[] = [];
    const elsewhere: Counters[] = [];
    for (const { id, before, decision } of decisions) {
      if (decision.metaverse === null) {
        // First a tombstone, the removal itself when nothing hangs on it any more.
        gone.push(id);
        if (!before.object.deleted) {
          metaverseWrites.push({ before, after: { ...before.object, deleted: true }, id });
        }
      } else if (decision.metaverseChanged) {
        const after = decision.metaverse;
        // It is known by them until they are written themselves: otherwise a replay would not come upon them again.
        const leaving = before.object.connectors.filter(
          (link) =>
            decision.objects.some((change) => change.id === link.id) &&
            !after.connectors.some(({ id: kept }) => kept === link.id),
        );
        if (leaving.length > 0) left.set(id, after.connectors);
        metaverseWrites.push({
          before,
          after: leaving.length === 0 ? after : { ...after, connectors: [...after.connectors, ...leaving] },
          id,
        });
      }

      // Counted with a row where one is written, so that a replay does not count again.
      const uncounted = countersOf(decision, this.#connector, phase);
      for (const { connector, id: object, after: afterwards } of decision.objects) {
        const isOwn = connector === this.#connector;
        const counters = uncounted.get(connector) ?? {};
        uncounted.delete(connector);
        (isOwn ? sources : targets).push({
          before: objects.get(`${connector}/${object}`) ?? null,
          after: afterwards,
          due: this.#due(afterwards),
          counters,
        });
      }
      elsewhere.push(...uncounted.values());
      for (const { id: object, connector, error } of decision.errors) {
        const subject =
          decision.objects.find((change) => change.id === object)?.after ??
          objects.get(`${connector}/${object}`)?.object;
        errors.push({
          object,
          error:
            subject === undefined || subject === null
              ? { ...runErrorOf(error), anchor: null, dn: null }
              : runError(error, subject),
        });
      }
    }
    const again = this.#followsReferences
      ? await referringTo(
          this.#parts,
          decisions,
          ({ connector, id }) => objects.get(`${connector}/${id}`)?.object,
        )
      : new Set<string>();
    if (again.size > 0) await metaverse.addWork(writer, again, "references");
    await this.#keepHistory(decisions);
    await metaverse.write(writer, metaverseWrites, this.#indexed);
    await this.#markExports([...targets, ...sources].flatMap(({ after: object }) => object ?? []));
    await this.#noteDue(targets);
    await this.#markPending(sources);
    await connectorSpace.write(writer, targets);
    await connectorSpace.write(writer, sources);
    if (gone.length > 0) await this.#removeGone(gone);
    if (left.size > 0) await this.#keepConnections(left);
    if (phase !== "all")
      await metaverse.removeWork(writer, phase === "flow" ? ids : ids.filter((id) => !again.has(id)), phase);
    await this.#slice.report(errors);
    return { statistics: addCounters(...elsewhere), failed: errors.length > 0 };
  }

  /** Before the objects are written. */
  async #markExports(objects: readonly ConnectorSpaceObject[]): Promise<void> {
    for (const [connector, all] of Map.groupBy(objects, ({ connector: name }) => name)) {
      const dirty = exportShards(all);
      if (dirty.length > 0)
        await this.#parts.state.markDirty(connector, "exportShards", dirty, stepKey(this.#slice));
    }
  }

  /** Of other connectors: at the end of this step only that of the synchronised one is looked up. */
  async #noteDue(targets: readonly ObjectWrite[]): Promise<void> {
    const dues = targets.flatMap(({ after: object, due }) =>
      object?.metaverseId === null && due != null ? [{ connector: object.connector, due }] : [],
    );
    for (const { connector, due } of dues)
      await this.#parts.state.update(connector, (state) =>
        state.nextDue !== null && state.nextDue <= due ? state : { ...state, nextDue: due },
      );
  }

  /** Before what it tells of is written: a replay finds nothing changed any more, or writes the same rows again. */
  async #keepHistory(
    decisions: readonly { readonly before: StoredMetaverseObject; readonly decision: SyncDecision }[],
  ): Promise<void> {
    const { run, step } = this.#slice;
    const writes = decisions.flatMap(({ before, decision }): HistoryWrite[] => {
      const entry = syncHistory(before.object, decision, { at: isoTime(this.#nowMs), runId: run.id });
      if (entry === null) return [];
      const { id: metaverseId } = before.object;
      return [
        {
          metaverseId,
          order: historyOrder(run, step, `sync-${changeHash(entry)}`),
          since: run.startedAt,
          entry,
        },
      ];
    });
    await this.#parts.objectHistory.add(writes);
  }

  async #keepConnections(connections: ReadonlyMap<string, MetaverseObject["connectors"]>): Promise<void> {
    const { metaverse } = this.#parts;
    const stored = await metaverse.getMany([...connections.keys()]);
    const writes = [...stored].map(
      ([id, before]): MetaverseWrite => ({
        before,
        after: { ...before.object, connectors: connections.get(id)! },
        id,
      }),
    );
    await metaverse.write(this.#slice.writer, writes, this.#indexed);
  }

  async #removeGone(ids: readonly string[]): Promise<void> {
    const { metaverse } = this.#parts;
    const tombstones = await metaverse.getMany(ids);
    const writes = [...tombstones].map(([id, before]): MetaverseWrite => ({ before, after: null, id }));
    await metaverse.write(this.#slice.writer, writes, this.#indexed);
  }

  #due(object: ConnectorSpaceObject | null): string | null {
    if (object === null) return null;
    const { retainMs, orphans } = this.#configuration.connectors.get(object.connector) ?? {};
    if (object.metaverseId === null)
      return object.pendingImport === null ? orphanDue(object, orphans, isoTime(this.#nowMs)) : null;
    if (object.absence === null || retainMs == null) return null;
    return isoTime(Date.parse(object.absence.since) + retainMs);
  }
}

/** Where the placing of one object stands that nothing else is placed with. */
function placingOf(id: string): PlacingCursor {
  const shard = shardOf(id);
  return { phase: "place", full: false, detail: null, shard, from: "", flow: "", failed: false };
}

type CountedWrite = ObjectWrite & { readonly counters: Counters };

type Adoption = (wanted: Provisioned | OutboundJoin, metaverse: MetaverseObject) => Promise<Stored | null>;

/**
 * By the connector in whose partitions they are to be counted.
 * @param phase in the third one what came in has been counted already
 */
function countersOf(
  { inbound, outbound }: SyncDecision,
  syncing: string,
  phase: FlowPhase,
): Map<string, Counters> {
  const counters = new Map<string, Counters>();
  for (const [connector, { connectorNoFlow: _, ...counted }] of Object.entries(outbound))
    counters.set(connector, outboundCounters(connector, counted));
  if (phase === "references") return counters;
  // A projected object's values flowed when it was placed, so that others could join it; here nothing is new of it.
  const { disconnectorProjectedNoFlow = 0, ...own } = inbound;
  const projected: Counters =
    disconnectorProjectedNoFlow === 0 ? {} : { disconnectorProjectedFlow: disconnectorProjectedNoFlow };
  return counters.set(syncing, addCounters(own as Counters, projected, counters.get(syncing) ?? {}));
}

function runErrorOf(error: SyncDecision["errors"][number]["error"]): RunError {
  return {
    code: error.code,
    anchor: null,
    dn: null,
    rule: error.rule ?? null,
    attribute: error.attribute ?? null,
    message: error.message,
    firstOccurred: error.firstOccurred,
    retryCount: error.retryCount,
    ...(error.stack !== undefined && { stack: error.stack }),
  };
}

function holds(
  object: ConnectorSpaceObject,
  { connectorAttribute, value, caseSensitive }: Provisioned["lookups"][number]["conditions"][number],
): boolean {
  const image = importedImage(object);
  if (connectorAttribute === "dn") return dnKey(object.dn) === dnKey(String(value));
  const syntax = caseSensitive ? "exact" : "caseIgnore";
  const key = comparisonKey(value, syntax);
  return valuesOf(image?.attributes[connectorAttribute]).some((own) => comparisonKey(own, syntax) === key);
}

function lookupKey({ conditions }: JoinLookup): string {
  const { metaverseAttribute, value } = conditions[0]!;
  return `${metaverseAttribute}:${comparisonKey(value)}`;
}

/** A disconnector whose placing failed: another synchronisation, delta too, is to place it. */
function stillPending(
  object: ConnectorSpaceObject,
  disconnector: ConnectorSpaceObject,
  error: ObjectError,
): ConnectorSpaceObject {
  const { synchronized, pendingImport } = object;
  const pending = pendingImport ?? { change: "update", image: synchronized };
  return { ...disconnector, synchronized, pendingImport: pending, error };
}

/** Whether a disconnector stays exactly as it is. */
function sameState(a: ConnectorSpaceObject, b: ConnectorSpaceObject): boolean {
  return (
    a.pendingImport === null &&
    a.linking === b.linking &&
    a.disconnector === b.disconnector &&
    a.error === b.error &&
    a.orphan === b.orphan &&
    a.pendingExport === b.pendingExport
  );
}

function merge(a: string, b: string): string {
  return [...new Set([...a, ...b])].sort().join("");
}
