import { familyOf } from "../core/identity.ts";
import type { UndecodedObject } from "../stores/connectorSpace.ts";
import type { UndecodedMetaverseObject } from "../stores/metaverse.ts";
import type { EngineParts } from "./engine.ts";

/** A metaverse object and all that is linked to it, as they were read. */
export interface Family {
  readonly metaverse: UndecodedMetaverseObject;
  readonly linked: readonly UndecodedObject[];
}

/** The ids of this shard from here on. */
export interface FamilyPlace {
  readonly shard: string;
  readonly from: string;
}

export interface FamilyPage {
  readonly shard: string;
  readonly families: readonly Family[];
  /** Whether others follow. */
  readonly more: boolean;
}

/** So many metaverse objects that their objects of one connector, others among them, fit into one page, too. */
const familiesAtOnce = 800;

type StoresOfFamilies = Pick<EngineParts, "metaverse" | "connectorSpace">;

/** All families of these shards in order, from a place on. */
export async function* familiesOf(
  stores: StoresOfFamilies,
  shards: readonly string[],
  place: FamilyPlace,
): AsyncGenerator<FamilyPage> {
  const left = shards.slice(shards.indexOf(place.shard));
  for (const shard of left) {
    const from = shard === place.shard ? place.from : "";
    for await (const { objects, more } of stores.metaverse.pages(shard, from, familiesAtOnce)) {
      const families = await linkedTo(stores, shard, objects);
      yield { shard, families, more: more || shard !== left.at(-1) };
    }
  }
}

/** Reads by ranges what lies beside its metaverse object, as its id shows, and by itself what was joined from elsewhere. */
async function linkedTo(
  { connectorSpace }: StoresOfFamilies,
  shard: string,
  metaverse: readonly UndecodedMetaverseObject[],
): Promise<readonly Family[]> {
  const found = new Map<string, Map<string, UndecodedObject>>();
  const beside = new Map<string, string[]>();
  const elsewhere = new Map<string, string[]>();
  for (const { id: owner, connectors } of metaverse) {
    for (const { connector, id } of connectors) {
      const place = familyOf(id) === familyOf(owner) ? beside : elsewhere;
      const ids = place.get(connector);
      if (ids === undefined) place.set(connector, [id]);
      else ids.push(id);
      if (!found.has(connector)) found.set(connector, new Map());
    }
  }
  const readEach = async (connector: string, ids: readonly string[]) => {
    for (const [id, stored] of await connectorSpace.getMany(connector, ids))
      found.get(connector)!.set(id, { id, decode: () => stored });
  };
  // Ids of one family sort alike, so the objects of these metaverse objects lie in one range of their shard.
  const from = familyOf(metaverse[0]!.id);
  const to = `${familyOf(metaverse.at(-1)!.id)}\u007f`;
  const readRange = async (connector: string, ids: readonly string[]) => {
    const wanted = new Set(ids);
    for await (const page of connectorSpace.pages(connector, shard, from, to))
      for (const one of page) if (wanted.has(one.id)) found.get(connector)!.set(one.id, one);
  };
  await Promise.all([
    ...[...beside].map(([connector, ids]) => (ids.length > 1 ? readRange : readEach)(connector, ids)),
    ...[...elsewhere].map(([connector, ids]) => readEach(connector, ids)),
  ]);
  return metaverse.map((one) => {
    const linked: UndecodedObject[] = [];
    for (const { connector, id } of one.connectors) {
      const object = found.get(connector)!.get(id);
      if (object !== undefined) linked.push(object);
    }
    return { metaverse: one, linked };
  });
}
