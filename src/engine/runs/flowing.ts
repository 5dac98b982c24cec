import { changeHash, syncHistory } from "../core/history.ts";
import { familyOf } from "../core/identity.ts";
import type { MetaverseObject } from "../core/model.ts";
import { type SyncDecision, synchronize } from "../core/synchronize.ts";
import type { ObjectWrite } from "../stores/connectorSpace.ts";
import type { Stored } from "../stores/connectorSpaceRows.ts";
import { addCounters, type Counters } from "../stores/fence.ts";
import type { MetaverseWrite, StoredMetaverseObject, WorkPhase } from "../stores/metaverse.ts";
import type { HistoryWrite } from "../stores/objectHistory.ts";
import type { RunError } from "../stores/runs.ts";
import { Adoption } from "./adoption.ts";
import { historyOrder, isoTime } from "./engine.ts";
import { metIn } from "./inboundCounters.ts";
import { outboundCounters } from "./outboundCounters.ts";
import { ReferenceLookup, referringTo } from "./references.ts";
import { runError } from "./runErrors.ts";
import { againOnConflict, type SyncContext } from "./syncContext.ts";

/** What a batch of metaverse objects flows in: a full synchronisation, a delta one, or the third phase. */
export type FlowPhase = "all" | WorkPhase;

/** What became of a batch of metaverse objects; `statistics`: what was not counted with a row. */
export interface FlowedBatch {
  readonly statistics: Counters;
  readonly failed: boolean;
}

type CountedWrite = ObjectWrite & { readonly counters: Counters };

/** The second phase: the values of metaverse objects, and what they want of all that is linked to them. */
export class Flowing {
  readonly #context: SyncContext;

  constructor(context: SyncContext) {
    this.#context = context;
  }

  /** Lets a batch flow; what somebody else has changed meanwhile is decided again. */
  flow(
    batch: readonly { readonly id: string; readonly stored?: StoredMetaverseObject }[],
    phase: FlowPhase,
  ): Promise<FlowedBatch> {
    const ids = batch.map(({ id }) => id);
    return againOnConflict(async (attempt) => {
      const isKnown = attempt === 1 && phase === "all";
      const metaverse = isKnown
        ? new Map(batch.map(({ id, stored }) => [id, stored!]))
        : await this.#context.parts.metaverse.getMany(ids);
      return this.attempt(ids, metaverse, phase);
    });
  }

  /** @throws StoreError "conflict" */
  async attempt(
    ids: readonly string[],
    metaverse: ReadonlyMap<string, StoredMetaverseObject>,
    phase: FlowPhase,
  ): Promise<FlowedBatch> {
    const objects = await this.#connected([...metaverse.values()], phase === "all");
    const adoption = new Adoption(this.#context);
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
      decisions.push({ id, before, decision: await this.#decide(before, own, objects, adoption) });
    }
    return this.#commit(ids, decisions, objects, phase);
  }

  async #decide(
    before: StoredMetaverseObject,
    linked: readonly Stored[],
    objects: Map<string, Stored>,
    adoption: Adoption,
  ): Promise<SyncDecision> {
    let current = linked.map(({ object }) => object);
    const withheld = new Map<string, string>();
    const references = new ReferenceLookup(this.#context.parts);
    for (;;) {
      const decision = synchronize({
        metaverse: before.object,
        objects: current,
        syncing: this.#context.connector,
        configuration: this.#context.configuration,
        now: this.#context.now,
        random: () => this.#context.parts.random(),
        withheld,
        references,
      });
      if (await references.load()) continue;
      const known = current.length + withheld.size;
      for (const wanted of [...decision.provisioned, ...decision.joins]) {
        const found = await adoption.find(wanted, decision.metaverse ?? before.object);
        if (found === null || current.some(({ id }) => id === found.object.id)) continue;
        if (found.object.disconnector === "explicit") {
          withheld.set(found.object.connector, found.object.dn);
          continue;
        }
        objects.set(`${found.object.connector}/${found.object.id}`, found);
        current = [...current, { ...found.object, linking: before.object.id }];
      }
      if (current.length + withheld.size === known) {
        this.#context.observer?.flowed(before.object, current, decision);
        return decision;
      }
    }
  }

  /** All objects that are linked to these metaverse objects, by `connector/id`. */
  async #connected(metaverse: readonly StoredMetaverseObject[], full: boolean): Promise<Map<string, Stored>> {
    const { connectorSpace } = this.#context.parts;
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
        for await (const stored of connectorSpace.range(connector, this.#context.slice.shard, from, to)) {
          if (ids.has(stored.object.id)) add(stored);
        }
      }
      for (const stored of (await connectorSpace.getMany(connector, ids)).values()) add(stored);
    }
    return found;
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
  ): Promise<FlowedBatch> {
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
    await connectorSpace.write(writer, sources);
    if (gone.length > 0) await this.#removeGone(gone);
    if (left.size > 0) await this.#keepConnections(left);
    if (phase !== "all")
      await metaverse.removeWork(writer, phase === "flow" ? ids : ids.filter((id) => !again.has(id)), phase);
    await this.#context.slice.report(errors);
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
