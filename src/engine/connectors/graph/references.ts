/**
 * Managers, sponsors and members: relationships that a listing does not show, or not all of them, read for each object.
 *
 * Members of a group come 999 to a request; the first requests of many groups go together in a `$batch`, what is left
 * is followed link by link. https://learn.microsoft.com/graph/api/group-list-members
 */
import type { ConnectorContext } from "../../ports/connector.ts";
import { inParallel } from "../inParallel.ts";
import { type GraphClient, notGraph } from "./client.ts";
import { advanceGuard, newLoopGuard } from "./cursor.ts";
import type { GraphObject } from "./filter.ts";
import { expandedMax, type GraphObjectType } from "./objectTypes.ts";

const pageSize = 999;
const listsInFlight = 4;

interface Reading {
  /** Position in the list of objects. */
  readonly index: number;
  readonly relationship: string;
  readonly path: string;
}

/**
 * The objects with their selected relationships, those of many as lists of ids.
 * @returns undefined for an object that is gone meanwhile
 */
export async function withReferences(
  client: GraphClient,
  type: GraphObjectType,
  objects: readonly GraphObject[],
  context: ConnectorContext,
): Promise<(GraphObject | undefined)[]> {
  const { expanded, readApart } = type;
  if (expanded === undefined && readApart.length === 0) return [...objects];
  const readings = objects.flatMap((object, index): Reading[] =>
    relationshipsToRead(type, object).map((relationship) => ({
      index,
      relationship,
      path: `${type.collection}/${String(object.id)}/${relationship}?$select=id${relationship === "members" ? `&$top=${pageSize}` : ""}`,
    })),
  );
  if (readings.length === 0) return [...objects];
  const answers = await client.getMany(
    readings.map(({ path }) => path),
    context,
  );
  const result: (Record<string, unknown> | undefined)[] = objects.map((object) => ({ ...object }));
  const all = readings.map((reading, position) => ({ ...reading, answer: answers[position]! }));
  await inParallel(listsInFlight, all, async ({ index, relationship, answer }) => {
    const object = result[index];
    if (object === undefined) return;
    if (answer.status === 404) {
      result[index] = undefined;
      return;
    }
    object[relationship] = await idsOf(client, answer.body, context);
  });
  return result;
}

/** An expanded list that is full may have been cut. */
function relationshipsToRead(type: GraphObjectType, object: GraphObject): readonly string[] {
  const { expanded, readApart } = type;
  if (typeof object.id !== "string") return [];
  const shown = expanded === undefined ? undefined : object[expanded];
  return Array.isArray(shown) && shown.length >= expandedMax ? [expanded!, ...readApart] : readApart;
}

/** Follows a list to its end. */
async function idsOf(client: GraphClient, first: unknown, context: ConnectorContext): Promise<string[]> {
  const ids: string[] = [];
  let guard = newLoopGuard;
  for (let body: unknown = first; ; ) {
    const { value, "@odata.nextLink": next } = (body ?? {}) as Record<string, unknown>;
    // An object without `value` must not pass for a group without members.
    if (!Array.isArray(value)) throw notGraph("a page of related objects without `value`");
    for (const { id } of value as { readonly id?: unknown }[]) if (typeof id === "string") ids.push(id);
    if (next === undefined || next === null) return ids;
    if (typeof next !== "string") throw notGraph("an @odata.nextLink that is no link");
    guard = advanceGuard(guard, next);
    body = await client.get(next, context);
  }
}
