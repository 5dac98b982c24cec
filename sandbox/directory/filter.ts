/** Search filters: compiled into a predicate, and answered from an index where one helps. */
import type { AttributeView } from "./attributeView.ts";
import type { Directory } from "./directory.ts";
import { LdapError } from "./errors.ts";
import { guidFromBytes, guidToBytes, parseGuid, sidToBytes } from "./identifiers.ts";
import type { Filter } from "./protocol.ts";
import { attribute, forwardLinkOf, isBackLink, type SchemaAttribute, schemaClass } from "./schema.ts";
import { type Entry, listOf, type StoredValue } from "./store.ts";

type Predicate = (entry: Entry) => boolean;

const bitAnd = "1.2.840.113556.1.4.803";
const bitOr = "1.2.840.113556.1.4.804";
const inChain = "1.2.840.113556.1.4.1941";
const ambiguousNameKeys = ["samaccountname", "displayname", "givenname", "sn", "name", "proxyaddresses"];

/**
 * Compiles a filter. As on a domain controller an unknown attribute or a value that does not fit its syntax
 * matches nothing, and is no error.
 */
export function compileFilter(directory: Directory, view: AttributeView, filter: Filter): Predicate {
  const compile = (part: Filter) => compileFilter(directory, view, part);
  switch (filter.kind) {
    case "and": {
      const parts = filter.parts.map(compile);
      return (entry) => parts.every((part) => part(entry));
    }
    case "or": {
      const parts = filter.parts.map(compile);
      return (entry) => parts.some((part) => part(entry));
    }
    case "not": {
      const part = compile(filter.part);
      return (entry) => !part(entry);
    }
    default:
      break;
  }

  const schema = filter.attribute === undefined ? undefined : attribute(filter.attribute);
  if (schema === undefined) {
    const anr = filter.kind === "equal" && filter.attribute.toLowerCase() === "anr";
    return anr ? ambiguousName(view, filter.value.toString()) : () => false;
  }
  const some = (matches: (value: StoredValue) => boolean): Predicate => {
    return (entry) => view.values(entry, schema).some(matches);
  };
  switch (filter.kind) {
    case "present":
      return (entry) => view.values(entry, schema).length > 0;
    case "equal":
    case "approximately":
      return some(equals(directory, schema, filter.value));
    case "atLeast":
    case "atMost": {
      const compare = comparison(schema, filter.value.toString());
      if (compare === undefined) return () => false;
      return some(
        filter.kind === "atLeast" ? (value) => compare(value) >= 0 : (value) => compare(value) <= 0,
      );
    }
    case "substrings": {
      const initial = filter.initial?.toString().toLowerCase() ?? "";
      const final = filter.final?.toString().toLowerCase() ?? "";
      const middle = filter.any.map((part) => part.toString().toLowerCase());
      return some(
        (value) => typeof value === "string" && hasParts(value.toLowerCase(), initial, middle, final),
      );
    }
    case "extensible":
      return extensible(directory, schema, filter.rule, filter.value, some);
    default:
      return filter satisfies never;
  }
}

function equals(
  directory: Directory,
  schema: SchemaAttribute,
  value: Buffer,
): (stored: StoredValue) => boolean {
  const text = value.toString();
  const lower = text.toLowerCase();
  switch (schema.syntax) {
    case "integer":
    case "enumeration":
    case "largeInteger":
      if (!/^-?\d+$/.test(text)) return () => false;
      return (stored) => stored === text || BigInt(stored as string) === BigInt(text);
    case "dn":
    case "dnBinary": {
      // An object category may be given by the name of a class instead of its DN.
      const category = schema.key === "objectcategory" ? schemaClass(text)?.objectCategory : undefined;
      if (category !== undefined) {
        const expected = `cn=${category},${directory.schemaDn}`.toLowerCase();
        return (stored) => (stored as string).toLowerCase() === expected;
      }
      const target = findQuietly(directory, text);
      return (stored) => (typeof stored === "string" ? stored.toLowerCase() === lower : stored === target);
    }
    case "oid": {
      const named = schemaClass(text)?.name.toLowerCase() ?? lower;
      return (stored) => (stored as string).toLowerCase() === named;
    }
    case "octets":
    case "sid":
    case "securityDescriptor": {
      const bytes = octetsOf(schema, value);
      return (stored) => bytes.equals(stored as Uint8Array);
    }
    default:
      return (stored) => (stored as string).toLowerCase() === lower;
  }
}

/** GUIDs and SIDs may be written as text. */
function octetsOf(schema: SchemaAttribute, value: Buffer): Buffer {
  if (schema.syntax === "sid") return sidToBytes(value.toString()) ?? value;
  const guid = value.length === 36 ? parseGuid(value.toString()) : undefined;
  return guid === undefined ? value : guidToBytes(guid);
}

function comparison(schema: SchemaAttribute, text: string): ((stored: StoredValue) => number) | undefined {
  switch (schema.syntax) {
    case "integer":
    case "enumeration":
    case "largeInteger": {
      if (!/^-?\d+$/.test(text)) return undefined;
      const bound = BigInt(text);
      return (stored) => {
        const value = BigInt(stored as string);
        return value < bound ? -1 : value > bound ? 1 : 0;
      };
    }
    case "octets":
    case "sid":
    case "securityDescriptor":
    case "dn":
    case "dnBinary":
    case "boolean":
      return undefined;
    default: {
      const bound = text.toLowerCase();
      return (stored) => {
        const value = (stored as string).toLowerCase();
        return value < bound ? -1 : value > bound ? 1 : 0;
      };
    }
  }
}

function hasParts(value: string, initial: string, middle: readonly string[], final: string): boolean {
  if (!value.startsWith(initial) || value.length < initial.length + final.length) return false;
  if (!value.endsWith(final)) return false;
  const end = value.length - final.length;
  let at = initial.length;
  for (const part of middle) {
    const found = value.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

function extensible(
  directory: Directory,
  schema: SchemaAttribute,
  rule: string | undefined,
  value: Buffer,
  some: (matches: (value: StoredValue) => boolean) => Predicate,
): Predicate {
  if (rule === undefined) return some(equals(directory, schema, value));
  if (rule === bitAnd || rule === bitOr) {
    if (!/^-?\d+$/.test(value.toString())) return () => false;
    const mask = BigInt(value.toString());
    const matches = rule === bitAnd ? (bits: bigint) => bits === mask : (bits: bigint) => bits !== 0n;
    return some((stored) => typeof stored === "string" && matches(BigInt(stored) & mask));
  }
  const target = rule === inChain ? findQuietly(directory, value.toString()) : undefined;
  return target === undefined ? () => false : (entry) => reaches(entry, schema, target, new Set());
}

/** Whether following a link again and again leads from an entry to the target. */
function reaches(entry: Entry, schema: SchemaAttribute, target: Entry, seen: Set<Entry>): boolean {
  const next = isBackLink(schema)
    ? [...(entry.backLinks?.get(forwardLinkOf(schema)?.key ?? "") ?? [])]
    : (listOf(entry.values[schema.key]) as readonly Entry[]);
  for (const linked of next) {
    if (linked === target) return true;
    if (seen.has(linked)) continue;
    seen.add(linked);
    if (reaches(linked, schema, target, seen)) return true;
  }
  return false;
}

function ambiguousName(view: AttributeView, text: string): Predicate {
  const prefix = text.toLowerCase();
  const schemas = ambiguousNameKeys.map((key) => attribute(key)!);
  return (entry) =>
    schemas.some((schema) =>
      view.values(entry, schema).some((value) => (value as string).toLowerCase().startsWith(prefix)),
    );
}

function findQuietly(directory: Directory, dn: string): Entry | undefined {
  try {
    return directory.find(dn);
  } catch (error) {
    if (error instanceof LdapError) return undefined; // not a DN: it refers to nothing
    throw error;
  }
}

/**
 * The entries among which everything that the filter matches in the domain is found, or undefined when no
 * index narrows it down. `and` takes the shortest list, and a range of USNs from all of its parts.
 */
export function indexedCandidates(directory: Directory, filter: Filter): Entry[] | undefined {
  const { store } = directory;
  switch (filter.kind) {
    case "or": {
      const found = new Set<Entry>();
      for (const part of filter.parts) {
        const candidates = indexedCandidates(directory, part);
        if (candidates === undefined) return undefined;
        for (const entry of candidates) found.add(entry);
      }
      return [...found];
    }
    case "and": {
      let shortest = usnRange(directory, filter.parts);
      for (const part of filter.parts) {
        if (part.kind === "atLeast" || part.kind === "atMost") continue;
        const candidates = indexedCandidates(directory, part);
        if (candidates !== undefined && (shortest === undefined || candidates.length < shortest.length)) {
          shortest = candidates;
        }
      }
      return shortest;
    }
    case "atLeast":
    case "atMost":
      return usnRange(directory, [filter]);
    case "equal": {
      const schema = attribute(filter.attribute);
      const one = (entry: Entry | undefined) => (entry === undefined ? [] : [entry]);
      switch (schema?.key) {
        case undefined:
          return undefined;
        case "cn":
        case "ou":
          return [...store.lookUp("name", filter.value.toString())!];
        case "objectguid": {
          const bytes = octetsOf(schema!, filter.value);
          return bytes.length === 16 ? one(store.byGuid(guidFromBytes(bytes))) : [];
        }
        case "objectsid":
          return one(directory.findBySid(octetsOf(schema!, filter.value)));
        case "distinguishedname":
          return one(findQuietly(directory, filter.value.toString()));
        case "manager":
        case "member": {
          const target = findQuietly(directory, filter.value.toString());
          return [...(target?.backLinks?.get(schema!.key) ?? [])];
        }
        default: {
          const found = store.lookUp(schema!.key, filter.value.toString());
          return found === undefined ? undefined : [...found];
        }
      }
    }
    default:
      return undefined;
  }
}

function usnRange(directory: Directory, parts: readonly Filter[]): Entry[] | undefined {
  let shortest: Entry[] | undefined;
  for (const key of ["usnchanged", "usncreated"] as const) {
    let low = 0;
    let high = Number.MAX_SAFE_INTEGER;
    let bounded = false;
    for (const part of parts) {
      if ((part.kind !== "atLeast" && part.kind !== "atMost") || attribute(part.attribute)?.key !== key)
        continue;
      const bound = Number(part.value.toString());
      if (!Number.isInteger(bound)) continue;
      bounded = true;
      if (part.kind === "atLeast") low = Math.max(low, bound);
      else high = Math.min(high, bound);
    }
    if (!bounded) continue;
    const { store } = directory;
    const found =
      key === "usnchanged" ? [...store.changedBetween(low, high)] : store.createdBetween(low, high);
    if (shortest === undefined || found.length < shortest.length) shortest = found;
  }
  return shortest;
}
