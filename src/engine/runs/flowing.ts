import { changeHash, syncHistory } from "../core/history.ts";
import type { ConnectorSpaceObject, MetaverseObject } from "../core/model.ts";
import type { References } from "../core/references.ts";
import { type SyncDecision, synchronize } from "../core/synchronize.ts";
import type { ObjectWrite } from "../stores/connectorSpace.ts";
import type { Stored } from "../stores/connectorSpaceRows.ts";
import { addCounters, type Counters } from "../stores/fence.ts";
import type { MetaverseWrite, StoredMetaverseObject, WorkPhase } from "../stores/metaverse.ts";
import type { HistoryWrite } from "../stores/objectHistory.ts";
import type { RunError } from "../stores/runs.ts";
import { Adoption } from "./adoption.ts";
import { after, oneAhead } from "./batches.ts";
import { historyOrder, isoTime } from "./engine.ts";
import { type FamilyPlace, familiesOf } from "./families.ts";
import { metIn } from "./inboundCounters.ts";
import { outboundCounters } from "./outboundCounters.ts";
import { ReferenceLookup, referringTo } from "./references.ts";
import { runError } from "./runErrors.ts";
import { againOnConflict, isConflict, type SyncContext } from "./syncContext.ts";

/** What a batch of metaverse objects flows in: a full synchronisation, a delta one, or the third phase. */
export type FlowPhase = "all" | WorkPhase;

/** What became of a batch of metaverse objects; `statistics`: what was not counted with a row. */
export interface FlowedBatch {
  readonly statistics: Counters;
  readonly failed: boolean;
}

type CountedWrite = ObjectWrite & { readonly counters: Counters };

/** A metaverse object with what was decided for it, and all objects that it knows or has adopted. */
interface Decided {
  readonly before: StoredMetaverseObject;
  readonly decision: SyncDecision;
  readonly objects: readonly Stored[];
}

/** What a commit of a full synchronisation holds: few enough to be done long before the lease runs out. */
const commitMax = 500;
const nothingWithheld: ReadonlyMap<string, string> = new Map();

/** The second phase: the values of metaverse objects, and what they want of all that is linked to them. */
export class Flowing {
  readonly #context: SyncContext;
  /** Most objects ask none, so the next one takes it over. */
  #unasked: ReferenceLookup | undefined;

  constructor(context: SyncContext) {
    this.#context = context;
  }

  /**
   * Lets a batch flow; what somebody else has changed meanwhile is decided again.
   * @param noteFailure called when any has failed, before a replay could no longer meet it
   */
  flow(ids: readonly string[], phase: FlowPhase, noteFailure?: () => Promise<void>): Promise<FlowedBatch> {
    return againOnConflict(async () =>
      this.attempt(ids, await this.#context.parts.metaverse.getMany(ids), phase, noteFailure),
    );
  }

  /** @throws StoreError "conflict" */
  async attempt(
    ids: readonly string[],
    metaverse: ReadonlyMap<string, StoredMetaverseObject>,
    phase: FlowPhase,
    noteFailure?: () => Promise<void>,
  ): Promise<FlowedBatch> {
    const objects = await this.#connected([...metaverse.values()]);
    const adoption = new Adoption(this.#context);
    const decided: Decided[] = [];
    for (const id of ids) {
      const before = metaverse.get(id);
      if (before === undefined) continue;
      const linked = before.object.connectors.flatMap(
        ({ connector, id: object }) => objects.get(connector)?.get(object) ?? [],
      );
      decided.push(await this.#decide(before, linked, adoption));
    }
    return this.#commit(ids, decided, phase, noteFailure);
  }

  /**
   * Lets all metaverse objects of these shards flow, in order. What is read next is asked for meanwhile, an object is
   * decoded when it is its turn, and what stays as it is is forgotten at once: most of it does.
   * @returns batch by batch what became of them, and where the next one begins; null: they are through
   */
  async *flowAll(
    group: readonly string[],
    place: FamilyPlace,
  ): AsyncGenerator<FlowedBatch & { readonly next: FamilyPlace | null }> {
    for await (const { shard, families, more } of oneAhead(familiesOf(this.#context.parts, group, place))) {
      const adoption = new Adoption(this.#context);
      let decided: Decided[] = [];
      let counted: Record<string, number> = {};
      for (const [index, { metaverse, linked }] of families.entries()) {
        const objects: Stored[] = [];
        for (const one of linked) {
          const stored = one.decode();
          objects.push(stored instanceof Promise ? await stored : stored);
        }
        const made = this.#decide(metaverse.decode(), objects, adoption);
        const one = made instanceof Promise ? await made : made;
        if (changesNothing(one)) {
          countIn(counted, metIn([one]));
          for (const counters of countersOf(one.decision, this.#context.connector, "all").values())
            countIn(counted, counters);
        } else decided.push(one);
        const isLast = index === families.length - 1;
        if (!isLast && decided.length < commitMax) continue;
        const { statistics, failed } = await this.#commitOrDecideAgain(decided);
        const next = isLast && !more ? null : { shard, from: after(metaverse.id) };
        yield { statistics: addCounters(counted, statistics), failed, next };
        decided = [];
        counted = {};
      }
    }
  }

  async #commitOrDecideAgain(decided: readonly Decided[]): Promise<FlowedBatch> {
    if (decided.length === 0) return { statistics: {}, failed: false };
    const ids = decided.map(({ before }) => before.object.id);
    try {
      return await this.#commit(ids, decided, "all");
    } catch (error) {
      if (!isConflict(error)) throw error;
      return this.flow(ids, "all");
    }
  }

  /** A promise only where something has to be looked up. @param linked what the metaverse object knows as its own */
  #decide(
    before: StoredMetaverseObject,
    linked: readonly Stored[],
    adoption: Adoption,
  ): Decided | Promise<Decided> {
    const { id } = before.object;
    const current: ConnectorSpaceObject[] = [];
    for (const { object } of linked) if ((object.metaverseId ?? object.linking) === id) current.push(object);
    const references = this.#unasked ?? new ReferenceLookup(this.#context.parts);
    const decision = this.#synchronize(before, current, nothingWithheld, references);
    const looks = references.isAsked || decision.provisioned.length + decision.joins.length > 0;
    this.#unasked = looks ? undefined : references;
    if (looks) return this.#lookUp({ before, decision, objects: linked }, current, references, adoption);
    this.#context.observer?.flowed(before.object, current, decision);
    return { before, decision, objects: linked };
  }

  /** Decides again with what is found, until nothing more is asked for. */
  async #lookUp(
    first: Decided,
    own: readonly ConnectorSpaceObject[],
    references: ReferenceLookup,
    adoption: Adoption,
  ): Promise<Decided> {
    const { before } = first;
    let current = own;
    const objects = [...first.objects];
    const withheld = new Map<string, string>();
    for (let { decision } = first; ; decision = this.#synchronize(before, current, withheld, references)) {
      if (await references.load()) continue;
      const known = current.length + withheld.size;
      for (const wanted of [...decision.provisioned, ...decision.joins]) {
        const found = await adoption.find(wanted, decision.metaverse ?? before.object);
        if (found === null || current.some((object) => object.id === found.object.id)) continue;
        if (found.object.disconnector === "explicit") {
          withheld.set(found.object.connector, found.object.dn);
          continue;
        }
        objects.push(found);
        current = [...current, { ...found.object, linking: before.object.id }];
      }
      if (current.length + withheld.size === known) {
        this.#context.observer?.flowed(before.object, current, decision);
        return { before, decision, objects };
      }
    }
  }

  #synchronize(
    before: StoredMetaverseObject,
    objects: readonly ConnectorSpaceObject[],
    withheld: ReadonlyMap<string, string>,
    references: References,
  ): SyncDecision {
    const { connector: syncing, configuration, now, random } = this.#context;
    const { object: metaverse } = before;
    return synchronize({
      metaverse,
      objects,
      syncing,
      configuration,
      now,
      random,
      withheld,
      references,
    });
  }

  /** All objects that are linked to these metaverse objects, by connector and id. */
  async #connected(
    metaverse: readonly StoredMetaverseObject[],
  ): Promise<ReadonlyMap<string, ReadonlyMap<string, Stored>>> {
    const links = metaverse.flatMap(({ object }) => object.connectors);
    const found = new Map<string, ReadonlyMap<string, Stored>>();
    for (const [connector, all] of Map.groupBy(links, ({ connector: name }) => name)) {
      const ids = all.map(({ id }) => id);
      found.set(connector, await this.#context.parts.connectorSpace.getMany(connector, ids));
    }
    return found;
  }

  async #commit(
    ids: readonly string[],
    decisions: readonly Decided[],
    phase: FlowPhase,
    noteFailure?: () => Promise<void>,
  ): Promise<FlowedBatch> {
    const objects = new Map(
      decisions.flatMap((one) =>
        one.objects.map((stored) => [`${stored.object.connector}/${stored.object.id}`, stored]),
      ),
    );
    const { connectorSpace, metaverse } = this.#context.parts;
    const { writer } = this.#context.slice;
    const metaverseWrites: MetaverseWrite[] = [];
    const gone: string[] = [];
    /** Connections of the metaverse objects that some of their objects leave. */
    const left = new Map<string, MetaverseObject["connectors"]>();
    const targets: CountedWrite[] = [];
    const sources: CountedWrite[] = [];
    const errors: { readonly object: string; readonly error: RunError }[] = [];
    const elsewhere: Counters[] = [];
    for (const { before, decision } of decisions) {
      const { id } = before.object;
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
      const uncounted = countersOf(decision, this.#context.connector, phase);
      for (const { connector, id: object, after: afterwards } of decision.objects) {
        const isOwn = connector === this.#context.connector;
        const counters = uncounted.get(connector) ?? {};
        uncounted.delete(connector);
        (isOwn ? sources : targets).push({
          before: objects.get(`${connector}/${object}`) ?? null,
          after: afterwards,
          due: this.#context.due(afterwards),
          counters,
        });
      }
      elsewhere.push(...uncounted.values());
      for (const { id: object, connector, error } of decision.errors) {
        const subject =
          decision.objects.find((change) => change.id === object)?.after ??
          objects.get(`${connector}/${object}`)?.object;
        errors.push({ object, error: runError(error, subject ?? { anchor: null, dn: null }) });
      }
    }
    const again = this.#context.followsReferences
      ? await referringTo(
          this.#context.parts,
          decisions,
          ({ connector, id }) => objects.get(`${connector}/${id}`)?.object,
        )
      : new Set<string>();
    if (again.size > 0) await metaverse.addWork(writer, again, "references");
    await this.#keepHistory(decisions);
    await metaverse.write(writer, metaverseWrites, this.#context.indexed);
    await this.#context.markExports([...targets, ...sources].flatMap(({ after: object }) => object ?? []));
    await this.#noteDue(targets);
    await this.#context.markPending(sources);
    await connectorSpace.write(writer, targets);
    await this.#context.slice.report(errors);
    if (errors.length > 0) await noteFailure?.();
    await connectorSpace.write(writer, sources);
    if (gone.length > 0) await this.#removeGone(gone);
    if (left.size > 0) await this.#keepConnections(left);
    if (phase !== "all")
      await metaverse.removeWork(writer, phase === "flow" ? ids : ids.filter((id) => !again.has(id)), phase);
    // A delta synchronisation does not meet again what it has taken from its work.
    const met = phase === "all" ? metIn(decisions) : {};
    return { statistics: addCounters(met, ...elsewhere), failed: errors.length > 0 };
  }

  /** Of other connectors: at the end of this step only that of the synchronised one is looked up. */
  async #noteDue(targets: readonly ObjectWrite[]): Promise<void> {
    const dues = targets.flatMap(({ after: object, due }) =>
      object?.metaverseId === null && due != null ? [{ connector: object.connector, due }] : [],
    );
    for (const { connector, due } of dues)
      await this.#context.parts.state.update(connector, (state) =>
        state.nextDue !== null && state.nextDue <= due ? state : { ...state, nextDue: due },
      );
  }

  /** Before what it tells of is written: a replay finds nothing changed any more, or writes the same rows again. */
  async #keepHistory(
    decisions: readonly { readonly before: StoredMetaverseObject; readonly decision: SyncDecision }[],
  ): Promise<void> {
    const { run, step } = this.#context.slice;
    const writes = decisions.flatMap(({ before, decision }): HistoryWrite[] => {
      const entry = syncHistory(before.object, decision, { at: isoTime(this.#context.nowMs), runId: run.id });
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
    await this.#context.parts.objectHistory.add(writes);
  }

  async #keepConnections(connections: ReadonlyMap<string, MetaverseObject["connectors"]>): Promise<void> {
    const { metaverse } = this.#context.parts;
    const stored = await metaverse.getMany([...connections.keys()]);
    const writes = [...stored].map(
      ([id, before]): MetaverseWrite => ({
        before,
        after: { ...before.object, connectors: connections.get(id)! },
        id,
      }),
    );
    await metaverse.write(this.#context.slice.writer, writes, this.#context.indexed);
  }

  async #removeGone(ids: readonly string[]): Promise<void> {
    const { metaverse } = this.#context.parts;
    const tombstones = await metaverse.getMany(ids);
    const writes = [...tombstones].map(([id, before]): MetaverseWrite => ({ before, after: null, id }));
    await metaverse.write(this.#context.slice.writer, writes, this.#context.indexed);
  }
}

/** Whether there is nothing to commit but a count. */
function changesNothing({ decision }: Decided): boolean {
  const { metaverse, metaverseChanged, objects, errors } = decision;
  return !metaverseChanged && objects.length === 0 && errors.length === 0 && metaverse?.deleted === false;
}

function countIn(sum: Record<string, number>, counters: Counters): void {
  for (const name of Object.keys(counters)) sum[name] = (sum[name] ?? 0) + counters[name]!;
}

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
