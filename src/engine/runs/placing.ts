import { shardOf } from "../core/identity.ts";
import {
  asDisconnector,
  type ConnectionDecision,
  contributionsOf,
  type DisconnectorReason,
  joinKey,
  joinLookups,
  meets,
  severalJoinRules,
  severalJoinRulesMessage,
} from "../core/inbound.ts";
import { newMetaverseObject, reduceContributions } from "../core/metaverse.ts";
import {
  type ConnectorSpaceObject,
  importedImage,
  type MetaverseObject,
  type ObjectError,
  unclaimed,
} from "../core/model.ts";
import { decideOrphan, isOrphan, orphanDue } from "../core/orphans.ts";
import { isUnsent } from "../core/outbound.ts";
import { synchronizationError } from "../core/synchronize.ts";
import { valuesOf } from "../core/values.ts";
import type { ObjectWrite } from "../stores/connectorSpace.ts";
import type { Stored } from "../stores/connectorSpaceRows.ts";
import { addCounters, type Counters } from "../stores/fence.ts";
import type { KeyFilter } from "../stores/keyFilter.ts";
import type { MetaverseWrite, StoredMetaverseObject } from "../stores/metaverse.ts";
import type { RunError } from "../stores/runs.ts";
import { after } from "./batches.ts";
import { isoTime } from "./engine.ts";
import { isEverybodyKnown } from "./orphans.ts";
import { runError } from "./runErrors.ts";
import { againOnConflict, lookupKey, type SyncContext, valueKey } from "./syncContext.ts";

/** Of more objects than this all in their range are read; in a full synchronisation they come from one page of it. */
const pointReadsMax = { delta: 64, full: 16 };
/** So many lookups in the metaverse's index cost what reading it, while it is small, does. */
const indexReadWorthwhile = 64;

/** What became of a batch of objects. */
export interface PlacedBatch {
  /** Shards of the metaverse objects that are to flow; a shard for each of them. */
  readonly flow: string;
  readonly statistics: Counters;
  readonly failed: boolean;
}

/** The first phase: scope, join and projection of objects that are linked to nothing; one worker does it. */
export class Placing {
  readonly #context: SyncContext;
  #everybodyKnown: Promise<boolean> | undefined;
  /** How many values the metaverse's index was asked for. */
  #lookups = 0;
  /** About how many rows the index had at the start. */
  #indexRows: number | null = null;
  /** Of a placing with many lookups: what the index has, all that this slice writes included. */
  #indexFilter: KeyFilter | undefined;

  constructor(context: SyncContext) {
    this.#context = context;
  }

  /** Places a batch; what somebody else has changed meanwhile is decided again. */
  place(ids: readonly string[], full: boolean): Promise<PlacedBatch> {
    return againOnConflict((attempt) => this.attempt(ids, full, attempt > 1));
  }

  /**
   * @param doubtful whether a metaverse object may be there that a new object would project: otherwise none is looked
   * for, and one that is there is a conflict
   * @throws StoreError "conflict"
   */
  async attempt(ids: readonly string[], full: boolean, doubtful: boolean): Promise<PlacedBatch> {
    const { connectorSpace, metaverse } = this.#context.parts;
    const writer = this.#context.slice.writer;
    const stored = await this.#load(ids, full ? pointReadsMax.full : pointReadsMax.delta);
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
    /**
     * What became of an object that stays unlinked. A full synchronisation meets it again when the batch is repeated, so
     * it is counted with the cursor there; a delta one does not, so with the row there, where one is written.
     */
    const count = (counters: Counters, isWritten: boolean): Counters => {
      if (!full && isWritten) return counters;
      statistics = addCounters(statistics, counters);
      return {};
    };
    let failed = false;
    // By the first condition of the lookups that ask for them.
    const placedBy = new Map<string, Set<string>>();
    const candidatesOf = await this.#context.lookUp(
      unlinked.map(({ object }) => object),
      (lookups) => this.#worthwhileFilter(lookups),
    );
    const inStoreById = new Map([...candidatesOf.values()].flat().map((found) => [found.object.id, found]));
    const asked = new Set([...candidatesOf.keys()].map((key) => key.slice(0, key.indexOf(":"))));
    for (const one of unlinked) {
      const object: ConnectorSpaceObject = { ...one.object, linking: null };
      const lookups = joinLookups(object, this.#context.configuration);
      const candidates = new Map(
        lookups.map((lookup) => {
          const inStore = (candidatesOf.get(lookupKey(lookup)) ?? []).filter(
            ({ object: found }) => !placed.has(found.id) && meets(found, lookup),
          );
          const inBatch = [...(placedBy.get(lookupKey(lookup)) ?? [])]
            .map((id) => placed.get(id)!)
            .filter(({ after: found }) => meets(found, lookup));
          return [
            joinKey(lookup),
            [...inStore.map((found) => found.object.id), ...inBatch.map((found) => found.after.id)],
          ];
        }),
      );
      const decision = this.#context.decideConnection(
        object,
        candidates,
        (id) => placed.get(id)?.after ?? inStoreById.get(id)?.object,
      );
      this.#context.observer?.placed(object, lookups, candidates, decision);
      if ("error" in decision) {
        remains.push({
          before: one,
          after: stillPending(object, { ...object, pendingExport: null }, decision.error),
          counters: count({ flowFailure: 1 }, true),
        });
        errors.push({ object: object.id, error: runError(decision.error, object) });
        failed = true;
        continue;
      }
      if (decision.kind === "disconnector") {
        const error = this.#placingError(object, decision, candidates);
        const disconnector = asDisconnector(object, decision.reason);
        // Pending until it is solved: each synchronisation tries again.
        const { after: afterwards, due } =
          disconnector === null || error !== null
            ? { after: disconnector && stillPending(object, disconnector, error!), due: null }
            : await this.#orphaned(one, disconnector, decision.reason);
        if (error !== null) {
          errors.push({ object: object.id, error: runError(error, object) });
          failed = true;
        }
        for (const id of await this.#unsentAt(object)) work.add(id);
        const counter = decision.reason === "filtered" ? "disconnectorFiltered" : "disconnectorRemains";
        const isWritten = afterwards === null || !sameState(one.object, afterwards) || one.due !== due;
        const counters = afterwards === null ? {} : count({ [counter]: 1 }, isWritten);
        if (isWritten) remains.push({ before: one, after: afterwards, due, counters });
        continue;
      }
      if (decision.kind === "stay") continue;
      const { metaverseId } = decision;
      const isFirst = !doubtful && one.object.linking === null && one.object.pendingImport?.change === "add";
      let known: { before: StoredMetaverseObject | null; after: MetaverseObject } | undefined =
        placed.get(metaverseId);
      if (known === undefined) {
        const before =
          inStoreById.get(metaverseId) ??
          (isFirst ? undefined : await this.#context.parts.metaverse.get(metaverseId));
        known = before && { before, after: before.object };
      }
      const base = known?.after ?? newMetaverseObject(metaverseId, decision.metaverseObjectType);
      intents.push({ before: one, after: { ...unclaimed(object), linking: metaverseId } });
      const after = this.#firstContributions(object, {
        ...base,
        connectors: [
          ...base.connectors.filter(({ id }) => id !== object.id),
          { connector: this.#context.connector, id: object.id },
        ],
      });
      placed.set(metaverseId, { before: known?.before ?? null, after });
      for (const attribute of asked) {
        for (const value of valuesOf(after.attributes[attribute]?.value)) {
          const key = valueKey(attribute, value);
          placedBy.set(key, (placedBy.get(key) ?? new Set()).add(metaverseId));
        }
      }
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
      this.#context.indexed,
      this.#indexFilter,
    );
    if (!full)
      await metaverse.addWork(
        writer,
        [...work].filter((id) => !placed.has(id)),
      );
    await this.#context.markPending(remains);
    await this.#context.markExports(remains.flatMap(({ after: object }) => object ?? []));
    await connectorSpace.write(writer, remains);
    await this.#context.slice.report(errors);
    return { flow: [...work].map(shardOf).join(""), statistics, failed };
  }

  async #load(ids: readonly string[], pointReads: number): Promise<Map<string, Stored>> {
    const { connector, parts } = this.#context;
    const { connectorSpace } = parts;
    if (ids.length <= pointReads) return connectorSpace.getMany(connector, ids);
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

  /** A disconnector with what shall become of it when it belongs to nobody, and when it is to be looked at again. */
  async #orphaned(
    before: Stored,
    disconnector: ConnectorSpaceObject,
    reason: DisconnectorReason,
  ): Promise<{ readonly after: ConnectorSpaceObject; readonly due: string | null }> {
    const { configuration, connector, nowMs } = this.#context;
    const { orphans } = configuration.connectors.get(connector) ?? {};
    const times = isOrphan(disconnector, reason, configuration) ? orphans : undefined;
    const isProven = times !== undefined && (await this.#isEverybodyKnown());
    const now = isoTime(nowMs);
    const { pendingExport } = before.object;
    const after = decideOrphan({ ...disconnector, pendingExport }, times, { isProven, now });
    if (times === undefined) return { after, due: null };
    // Without proof each synchronisation asks again.
    return { after, due: isProven ? orphanDue(after, times, now) : (before.due ?? now) };
  }

  /** Whether all who could own an account of this connector are in the metaverse; asked once a time slice. */
  #isEverybodyKnown(): Promise<boolean> {
    this.#everybodyKnown ??= isEverybodyKnown(
      this.#context.parts,
      this.#context.connector,
      this.#context.configuration,
    );
    return this.#everybodyKnown;
  }

  /** Whether the metaverse object knows of an unfinished link: then it is finished, else decided anew. */
  async #intentStands(object: ConnectorSpaceObject): Promise<boolean> {
    if (object.linking === null) return false;
    const found = await this.#context.parts.metaverse.get(object.linking);
    return found?.object.connectors.some(({ id }) => id === object.id) ?? false;
  }

  /** Once the lookups of this slice would have paid for reading the whole index, it is read. */
  async #worthwhileFilter(lookups: number): Promise<KeyFilter | undefined> {
    this.#lookups += lookups;
    if (this.#indexFilter !== undefined || this.#lookups < indexReadWorthwhile) return this.#indexFilter;
    const { parts, indexed, slice } = this.#context;
    const rowsOfObject = Math.max(1, ...[...indexed.values()].map((names) => names.length));
    this.#indexRows ??= (await parts.metaverse.objectCount()) * rowsOfObject;
    if (this.#lookups > indexReadWorthwhile + this.#indexRows / 1000)
      this.#indexFilter = await parts.metaverse.readIndexFilter(slice.writer, this.#indexRows);
    return this.#indexFilter;
  }

  /** Values enough for the objects that come after to join; the second phase decides them all anew. */
  #firstContributions(object: ConnectorSpaceObject, metaverse: MetaverseObject): MetaverseObject {
    const image = importedImage(object);
    if (image === null || Object.keys(metaverse.attributes).length > 0) return metaverse;
    try {
      const clock = { now: this.#context.now, random: () => this.#context.parts.random() };
      const contributions = contributionsOf(object, image, metaverse, this.#context.configuration, clock);
      return {
        ...metaverse,
        attributes: reduceContributions(contributions, {}, isoTime(this.#context.nowMs)),
      };
    } catch {
      return metaverse; // a flow that fails is that object's error in the second phase, with its message
    }
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
    return synchronizationError(object, failure, isoTime(this.#context.nowMs));
  }

  /**
   * The metaverse objects for which something at the DN of this new object was provisioned and never sent: their
   * provisioning is tried again, and may mean this one (SEMANTICS S6).
   */
  async #unsentAt(object: ConnectorSpaceObject): Promise<readonly string[]> {
    if (object.pendingImport?.change !== "add") return [];
    const found = await this.#context.parts.connectorSpace.findByDn(this.#context.connector, object.dn);
    return found.flatMap(({ object: other }) =>
      other.id !== object.id && isUnsent(other) ? (other.metaverseId ?? []) : [],
    );
  }
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
