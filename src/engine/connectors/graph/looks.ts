/** Direct looks at objects by their ids: what a listing or a delta round does not show, or shows in part. */
import { isDeepStrictEqual } from "node:util";
import type { Absence } from "../../core/model.ts";
import type { ConnectorContext } from "../../ports/connector.ts";
import type { GraphClient } from "./client.ts";
import type { GraphObject } from "./filter.ts";
import type { GraphObjectType } from "./objectTypes.ts";
import { withReferences } from "./references.ts";

/** What direct reads, of the object and of the deleted items, say of an id. */
export type Look =
  | { readonly kind: "present"; readonly type: GraphObjectType; readonly object: GraphObject }
  | { readonly kind: "gone"; readonly absence: "softDeleted" | "deleted" };

/** An object id of the directory; anything else cannot be one and is not asked for. */
const objectId = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Every id once: as an object of one of the types, and where there is none as a deleted item. */
export async function lookAt(
  client: GraphClient,
  types: readonly GraphObjectType[],
  ids: readonly string[],
  context: ConnectorContext,
): Promise<Map<string, Look>> {
  const looks = new Map<string, Look>(ids.map((id) => [id, { kind: "gone", absence: "deleted" }]));
  let missing = [...looks.keys()].filter((id) => objectId.test(id));
  for (const type of types) {
    const answers = await client.getMany(
      missing.map((id) => `${type.collection}/${id}?${type.query}`),
      context,
    );
    const found = answers.flatMap(({ status, body }, index) =>
      status === 404 ? [] : [{ id: missing[index]!, object: body as GraphObject }],
    );
    const whole = await withReferences(
      client,
      type,
      found.map(({ object }) => object),
      context,
    );
    for (const [index, { id }] of found.entries()) {
      const object = whole[index];
      if (object !== undefined) looks.set(id, { kind: "present", type, object });
    }
    missing = missing.filter((id) => looks.get(id)!.kind === "gone");
  }
  const deletedItems = await client.getMany(
    missing.map((id) => `/directory/deletedItems/${id}`),
    context,
  );
  for (const [index, id] of missing.entries()) {
    if (deletedItems[index]!.status === 200) looks.set(id, { kind: "gone", absence: "softDeleted" });
  }
  return looks;
}

/** https://learn.microsoft.com/graph/delta-query-overview: `changed` can be restored, `deleted` cannot. */
export function removalOf(change: GraphObject | undefined): Absence | undefined {
  const removed = change?.["@removed"] as { reason?: unknown } | null | undefined;
  if (removed === undefined || removed === null) return undefined;
  return removed.reason === "deleted" ? "deleted" : "softDeleted";
}

const annotation = "@delta";

/** Two entries of one page about the same object: the later one counts, parts of relationships add up. */
export function mergedChange(earlier: GraphObject | undefined, later: GraphObject): GraphObject {
  if (earlier === undefined || removalOf(later) !== undefined || removalOf(earlier) !== undefined)
    return later;
  const merged: Record<string, unknown> = { ...earlier, ...later };
  for (const [name, value] of Object.entries(earlier)) {
    if (name.endsWith(annotation) && Array.isArray(value) && Array.isArray(later[name]))
      merged[name] = [...value, ...(later[name] as unknown[])];
  }
  return merged;
}

/** Whether a direct read shows another state than the delta round reported. */
export function contradicts(change: GraphObject, look: Look): boolean {
  const removal = removalOf(change);
  if (removal !== undefined) return look.kind !== "gone" || look.absence !== removal;
  if (look.kind === "gone") return true;
  return Object.entries(change).some(([name, value]) =>
    name.endsWith(annotation)
      ? linksDiffer(value, look.object[name.slice(0, -annotation.length)])
      : name in look.object &&
        !name.startsWith("@") &&
        !isDeepStrictEqual(comparable(value), comparable(look.object[name])),
  );
}

/**
 * @param changed `[{id}, {id, "@removed"}]`, of which the last one of an id counts
 * @param present a list of ids or objects, one object, or nothing
 */
function linksDiffer(changed: unknown, present: unknown): boolean {
  if (!Array.isArray(changed)) return false;
  const idOf = (one: unknown) => (typeof one === "string" ? one : (one as { id?: unknown } | null)?.id);
  const ids = new Set([present ?? []].flat().map(idOf));
  const last = new Map(changed.map((one) => [idOf(one), removalOf(one as GraphObject) === undefined]));
  return [...last].some(([id, isThere]) => ids.has(id) !== isThere);
}

/** Null, an empty list and no value are one; a list has no order. */
function comparable(value: unknown): unknown {
  if (!Array.isArray(value)) return value ?? null;
  return value.length === 0 ? null : value.map((item) => JSON.stringify(item)).sort();
}
