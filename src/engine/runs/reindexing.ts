/**
 * Objects are indexed as they are written. When rules join on another attribute, or another attribute of the metaverse
 * is indexed, what was written before is indexed here, at the beginning of the full synchronisation that such a change
 * asks for: first the metaverse, then what is linked to nothing in the connector space.
 */
import type { Configuration } from "../core/configuration.ts";
import { shards } from "../core/identity.ts";
import { indexedAttributes, joinAttributes } from "../core/indexing.ts";
import { batches } from "./batches.ts";
import type { EngineParts } from "./engine.ts";

/** The row of the metaverse among those of the connectors, whose names have no parentheses. */
const metaverseState = "(metaverse)";
const batchSize = 200;

/** Where it stands: ids below `from` in `shard` are indexed. */
export interface ReindexingCursor {
  readonly what: "metaverse" | "objects";
  readonly shard: string;
  readonly from: string;
}

/** What has to be indexed anew, if anything. */
export async function reindexingOf(
  parts: EngineParts,
  configuration: Configuration,
  connector: string,
): Promise<ReindexingCursor | null> {
  const wanted = wantedNames(configuration, connector);
  for (const what of ["metaverse", "objects"] as const) {
    const state = await parts.state.get(what === "metaverse" ? metaverseState : connector);
    const known = state.indexedBy?.split(",") ?? null;
    if (known === null ? wanted[what].length > 0 : wanted[what].some((name) => !known.includes(name)))
      return { what, shard: shards[0]!, from: "" };
  }
  return null;
}

/** To be called before the first import of a connector: all that it writes is indexed as it is written. */
export async function indexedFromTheStart(
  parts: EngineParts,
  configuration: Configuration,
  connector: string,
): Promise<void> {
  const { objects } = wantedNames(configuration, connector);
  await parts.state.update(connector, (state) =>
    state.indexedBy === null && state.fullImportAt === null
      ? { ...state, indexedBy: objects.join(",") }
      : state,
  );
}

/** Goes on until all is indexed, or `goOn` says no. @returns where it stands; null when all is indexed */
export async function reindex(
  parts: EngineParts,
  configuration: Configuration,
  connector: string,
  from: ReindexingCursor,
  goOn: (cursor: ReindexingCursor) => Promise<boolean>,
): Promise<ReindexingCursor | null> {
  let cursor: ReindexingCursor | null = from;
  while (cursor !== null) {
    for (const shard of shards.filter((one) => one >= cursor!.shard)) {
      const { what, from } = cursor as ReindexingCursor;
      for await (const last of batchesOf(parts, configuration, connector, what, shard, from)) {
        cursor = { what, shard, from: `${last}!` };
        if (!(await goOn(cursor))) return cursor;
      }
      cursor = { what, shard, from: "" };
    }
    const { what } = cursor as ReindexingCursor;
    const names = wantedNames(configuration, connector)[what].join(",");
    await parts.state.update(what === "metaverse" ? metaverseState : connector, (state) => ({
      ...state,
      indexedBy: names,
    }));
    cursor = await reindexingOf(parts, configuration, connector);
  }
  return null;
}

/** Indexes batch after batch, and yields the last id of each. */
async function* batchesOf(
  { metaverse, connectorSpace }: EngineParts,
  configuration: Configuration,
  connector: string,
  what: ReindexingCursor["what"],
  shard: string,
  from: string,
): AsyncGenerator<string> {
  if (what === "metaverse") {
    const indexed = indexedAttributes(configuration.metaverse);
    for await (const batch of batches(metaverse.range(shard, from), batchSize)) {
      await metaverse.reindex(
        batch.map(({ object }) => object),
        indexed,
      );
      yield batch.at(-1)!.object.id;
    }
    return;
  }
  for await (const batch of batches(connectorSpace.range(connector, shard, from), batchSize)) {
    await connectorSpace.reindex(batch.map(({ object }) => object));
    yield batch.at(-1)!.object.id;
  }
}

function wantedNames(
  configuration: Configuration,
  connector: string,
): { readonly metaverse: readonly string[]; readonly objects: readonly string[] } {
  const types = [...indexedAttributes(configuration.metaverse)];
  return {
    metaverse: types.flatMap(([type, names]) => names.map((name) => `${type}.${name}`)),
    objects: joinAttributes(configuration).get(connector) ?? [],
  };
}
