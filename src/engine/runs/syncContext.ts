import pMap from "p-map";
import type { Configuration } from "../core/configuration.ts";
import { FlowError } from "../core/flow.ts";
import { shardOf } from "../core/identity.ts";
import {
  type ConnectionDecision,
  decideConnection,
  type JoinCandidates,
  type JoinLookup,
  joinLookups,
} from "../core/inbound.ts";
import { indexedAttributes } from "../core/indexing.ts";
import type { ConnectorSpaceObject, MetaverseObject, ObjectError } from "../core/model.ts";
import { orphanDue } from "../core/orphans.ts";
import { flowsReferences } from "../core/references.ts";
import { type SyncDecision, synchronizationError } from "../core/synchronize.ts";
import { comparisonKey, type DateTime, dateTimeFromMs, type Value } from "../core/values.ts";
import { StoreError } from "../ports/tables.ts";
import type { ObjectWrite } from "../stores/connectorSpace.ts";
import type { KeyFilter } from "../stores/keyFilter.ts";
import type { IndexedAttributes, StoredMetaverseObject } from "../stores/metaverse.ts";
import { type EngineParts, isoTime } from "./engine.ts";
import { exportShards } from "./exportStep.ts";
import { type Slice, stepKey } from "./stepHandler.ts";

const conflictRetries = 5;

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

/** What the two phases of a synchronisation share: what they work with, and what both do. */
export class SyncContext {
  readonly parts: EngineParts;
  readonly slice: JobSlice;
  readonly observer: SyncObserver | undefined;
  readonly configuration: Configuration;
  readonly connector: string;
  readonly nowMs: number;
  readonly now: DateTime;
  /** [0,1) */
  readonly random: () => number;
  readonly indexed: IndexedAttributes;
  readonly followsReferences: boolean;

  constructor(parts: EngineParts, slice: JobSlice, configuration: Configuration, observer?: SyncObserver) {
    this.parts = parts;
    this.slice = slice;
    this.observer = observer;
    this.configuration = configuration;
    this.connector = slice.step.connector;
    this.nowMs = parts.clock.now();
    this.now = dateTimeFromMs(this.nowMs);
    this.random = () => parts.random();
    this.indexed = indexedAttributes(configuration.metaverse);
    this.followsReferences = flowsReferences(configuration);
  }

  /** What failed in a full synchronisation is pending from then on, in shards that may have had nothing pending. */
  async markPending(writes: readonly ObjectWrite[]): Promise<void> {
    const begins = writes.flatMap(({ before, after }) =>
      after !== null && after.pendingImport !== null && before?.object.pendingImport == null
        ? shardOf(after.id)
        : [],
    );
    if (begins.length > 0)
      await this.parts.state.markDirty(this.connector, "importShards", begins, stepKey(this.slice));
  }

  /** Before the objects are written. */
  async markExports(objects: readonly ConnectorSpaceObject[]): Promise<void> {
    for (const [connector, all] of Map.groupBy(objects, ({ connector: name }) => name)) {
      const dirty = exportShards(all);
      if (dirty.length > 0)
        await this.parts.state.markDirty(connector, "exportShards", dirty, stepKey(this.slice));
    }
  }

  /** The error is that of a rules extension; the object stays as it is, and pending, for another try. */
  decideConnection(
    object: ConnectorSpaceObject,
    candidates: JoinCandidates,
    found: (id: string) => MetaverseObject | undefined,
  ): ConnectionDecision | { readonly error: ObjectError } {
    try {
      return decideConnection(object, this.configuration, candidates, found);
    } catch (error) {
      if (!(error instanceof FlowError)) throw error;
      return { error: synchronizationError(object, error, isoTime(this.nowMs)) };
    }
  }

  /**
   * The first condition of each lookup is asked of the index, each value once.
   * @param filterFor so many lookups gives what knows the values that the index has not, if there is such a filter
   */
  async lookUp(
    objects: readonly ConnectorSpaceObject[],
    filterFor: (lookups: number) => Promise<KeyFilter | undefined> = async () => undefined,
  ): Promise<Map<string, readonly StoredMetaverseObject[]>> {
    const lookups = new Map<string, JoinLookup>();
    for (const object of objects) {
      for (const lookup of joinLookups({ ...object, linking: null }, this.configuration))
        lookups.set(lookupKey(lookup), lookup);
    }
    const filter = await filterFor(lookups.size);
    const found = await pMap(
      lookups,
      async ([key, lookup]) => {
        const { metaverseAttribute, value } = lookup.conditions[0]!;
        return [key, await this.parts.metaverse.findByIndex(metaverseAttribute, value, { filter })] as const;
      },
      { concurrency: 16 },
    );
    return new Map(found);
  }

  /** When time alone will change what becomes of the object (ISO 8601); null: never. */
  due(object: ConnectorSpaceObject | null): string | null {
    if (object === null) return null;
    const { retainMs, orphans } = this.configuration.connectors.get(object.connector) ?? {};
    if (object.metaverseId === null)
      return object.pendingImport === null ? orphanDue(object, orphans, isoTime(this.nowMs)) : null;
    if (object.absence === null || retainMs == null) return null;
    return isoTime(Date.parse(object.absence.since) + retainMs);
  }
}

/** Lookups with the same key ask the index the same. */
export function lookupKey({ conditions }: JoinLookup): string {
  const { metaverseAttribute, value } = conditions[0]!;
  return valueKey(metaverseAttribute, value);
}

export function valueKey(attribute: string, value: Value): string {
  return `${attribute}:${comparisonKey(value)}`;
}

/** Reads and decides again what somebody else has changed meanwhile. */
export async function againOnConflict<T>(work: (attempt: number) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work(attempt);
    } catch (error) {
      if (!isConflict(error) || attempt === conflictRetries) throw error;
    }
  }
}

export function isConflict(error: unknown): boolean {
  return error instanceof StoreError && error.kind === "conflict";
}
