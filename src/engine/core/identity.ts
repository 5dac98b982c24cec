import { hash } from "node:crypto";
import type { Image } from "./model.ts";
import { comparisonKey, isMultiValued, type Syntax, type Value, valueToJson } from "./values.ts";

/** Shards are fixed for the life of an installation: ids carry them. */
export const shards = "0123456789abcdef".split("") as readonly string[];

/** The shard of a connector space or metaverse object: the first digit of its id. */
export function shardOf(id: string): string {
  return id.charAt(0);
}

function hex(parts: readonly string[]): string {
  return hash("sha256", JSON.stringify(parts)).slice(0, 31);
}

/** Id of an object that an import brought: its shard is part of the hash, so it is spread evenly. */
export function importedId(connector: string, anchor: string): string {
  const digits = hex(["cs", connector, anchor]);
  return digits.charAt(30) + digits;
}

// The ids of a metaverse object and of the objects that hang on it begin alike. Reading both by key therefore gives
// the same order, and a full synchronisation is a merge of range reads instead of a point read per object.
const familyDigits = 24;

function inFamily(id: string, parts: readonly string[]): string {
  return id.slice(0, familyDigits) + hex(parts).slice(0, 32 - familyDigits);
}

/** What the ids of a metaverse object and of the objects in its shard that belong to it have in common. */
export function familyOf(id: string): string {
  return id.slice(0, familyDigits);
}

/** Id of an object that synchronisation provisions: it lies beside its metaverse object. */
export function provisionedId(connector: string, metaverseId: string, objectType: string): string {
  return inFamily(metaverseId, ["cs", connector, metaverseId, objectType]);
}

/** Id of the metaverse object that `connectorSpaceId` projects: it lies beside that object. */
export function projectedId(connectorSpaceId: string): string {
  return inFamily(connectorSpaceId, ["mv", connectorSpaceId]);
}

/** A key for an index row: no value ever stands raw in a key. */
export function indexHash(name: string, value: Value, syntax: Syntax = "caseIgnore"): string {
  return hex(["index", name.toLowerCase(), comparisonKey(value, syntax)]);
}

/** 22 characters that change when anything of the image changes; the order of a list does not count. */
export function imageDigest({ objectType, dn, attributes }: Image): string {
  const canonical = Object.keys(attributes)
    .sort()
    .map((name) => {
      const value = attributes[name]!;
      return [
        name,
        isMultiValued(value)
          ? value.map((one) => JSON.stringify(valueToJson(one))).sort()
          : valueToJson(value),
      ];
    });
  return hash("sha256", JSON.stringify([objectType, dn, canonical]), "base64url").slice(0, 22);
}
