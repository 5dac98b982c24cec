/**
 * Full and delta imports: pages of Graph become pages of entries.
 *
 * Only *who* changed is taken from a delta round, which gives parts of objects, replays and duplicates; what they look
 * like is read. Of a group it tells who joined and who left, a part at a time, and nothing when a member was deleted:
 * its members are read whole.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { ConnectorContext, ImportEntry, ImportPage, ImportStart } from "../../ports/connector.ts";
import { ConnectorError } from "../../ports/connector.ts";
import { type GraphClient, notGraph } from "./client.ts";
import type { DeltaLinks, ImportCursor } from "./cursor.ts";
import {
  advanceGuard,
  newLoopGuard,
  parseCursor,
  parseWatermark,
  printCursor,
  printWatermark,
} from "./cursor.ts";
import type { GraphObject } from "./filter.ts";
import { contradicts, type Look, lookAt, mergedChange, removalOf } from "./looks.ts";
import type { Members } from "./membership.ts";
import type { GraphObjectType, GraphTypeName } from "./objectTypes.ts";
import { withReferences } from "./references.ts";

export interface ImportScope {
  readonly client: GraphClient;
  /** In the order in which they are imported. */
  readonly types: readonly GraphObjectType[];
  /** Who alone may be a user in scope; null where no groups limit it. */
  readonly members: Members | null;
  readonly pageSize: number;
  /** How long a change may take to reach the replica that answers a direct read. */
  readonly replicationMs: number;
  readonly context: ConnectorContext;
}

interface Collection {
  readonly value: readonly GraphObject[];
  readonly nextLink: string | undefined;
  readonly deltaLink: string | undefined;
  readonly count: number | undefined;
}

/** One import, or the rest of one. */
export class GraphImport {
  readonly #scope: ImportScope;
  /** What was seen of the page before: the parts of a large group follow one another. */
  #recent: ReadonlyMap<string, Look> = new Map();

  constructor(scope: ImportScope) {
    this.#scope = scope;
  }

  /** @throws ConnectorError */
  async *pages(start: ImportStart): AsyncGenerator<ImportPage> {
    let cursor: ImportCursor | null = await this.#firstCursor(start);
    let isStored = start.kind !== "full";
    while (cursor !== null) {
      const { page, next }: { page: ImportPage; next: ImportCursor | null } = await this.#page(
        cursor,
        isStored,
      );
      yield page;
      cursor = next;
      isStored = false;
    }
  }

  // ---- where it begins and goes on -----------------------------------------------------------------------------

  async #firstCursor(start: ImportStart): Promise<ImportCursor> {
    const { types, members } = this.#scope;
    const digest = members?.digest ?? null;
    switch (start.kind) {
      case "resume": {
        const cursor = parseCursor(start.cursor);
        this.#typeNamed(cursor.type);
        return cursor;
      }
      case "delta": {
        const names = types.map(({ name }) => name);
        const watermark = parseWatermark(start.watermark, names, members !== null);
        if (watermark.members !== digest) {
          throw new ConnectorError(
            "watermark-expired",
            "Members have joined or left the connector's groups.",
          );
        }
        return this.#changesOf(types[0]!, watermark.links, digest);
      }
      case "full": {
        // Before the listing, so that what changes during it comes with the next delta import.
        const links: Partial<Record<GraphTypeName, string>> = {};
        for (const type of types) links[type.name] = await this.#latestDeltaLink(type);
        const counted = await this.#sourceCount();
        return {
          ...this.#listingOf(types[0]!, links, digest),
          ...(counted === undefined ? {} : { counted }),
        };
      }
    }
  }

  #listingOf(type: GraphObjectType, links: DeltaLinks, members: string | null): ImportCursor {
    const { client, pageSize } = this.#scope;
    const top = Math.min(pageSize, type.pageSizeMax);
    const next = client.url(`${type.collection}?${filtered(type)}${type.query}&$top=${top}`);
    return { phase: "objects", type: type.name, next, links, members, guard: newLoopGuard };
  }

  #changesOf(type: GraphObjectType, links: DeltaLinks, members: string | null): ImportCursor {
    const next = links[type.name]!;
    return { phase: "changes", type: type.name, next, links, members, guard: newLoopGuard };
  }

  /** With the `$select` of the later rounds: the token keeps it, and only what is selected is tracked. */
  async #latestDeltaLink({ collection, deltaSelect }: GraphObjectType): Promise<string> {
    let next = this.#scope.client.url(`${collection}/delta?$select=${deltaSelect}&$deltatoken=latest`);
    for (let guard = newLoopGuard; ; ) {
      guard = advanceGuard(guard, next);
      const { nextLink, deltaLink } = await this.#collection(next);
      if (deltaLink !== undefined) return deltaLink;
      if (nextLink === undefined) throw notGraph("a delta answer without a delta link");
      next = nextLink;
    }
  }

  #nextCursor(cursor: ImportCursor, { nextLink, deltaLink }: Collection, guard: ImportCursor["guard"]) {
    if (nextLink !== undefined) return { ...cursor, next: nextLink, guard };
    const { types, client, pageSize } = this.#scope;
    const type = this.#typeNamed(cursor.type);
    const following = types[types.indexOf(type) + 1];
    switch (cursor.phase) {
      case "objects": {
        const properties = type.name === "user" ? "id,userType" : "id";
        const next = client.url(
          `/directory/deletedItems/microsoft.graph.${type.name}?$select=${properties}&$top=${pageSize}`,
        );
        return { ...cursor, phase: "deletedObjects" as const, next, guard: newLoopGuard };
      }
      case "deletedObjects":
        return following === undefined
          ? null
          : { ...cursor, ...this.#listingOf(following, cursor.links, cursor.members) };
      case "changes": {
        const links = changedLinks(cursor, deltaLink);
        return following === undefined ? null : this.#changesOf(following, links, cursor.members);
      }
    }
  }

  /** @throws ConnectorError "watermark-expired" when the connector has that type no more */
  #typeNamed(name: GraphTypeName): GraphObjectType {
    const type = this.#scope.types.find((one) => one.name === name);
    if (type !== undefined) return type;
    throw new ConnectorError("watermark-expired", `The connector has no object type ${name} any more.`);
  }

  // ---- pages ---------------------------------------------------------------------------------------------------

  /** @param isStored whether the link is one that was kept since an earlier call */
  async #page(
    cursor: ImportCursor,
    isStored: boolean,
  ): Promise<{ page: ImportPage; next: ImportCursor | null }> {
    const guard = advanceGuard(cursor.guard, cursor.next);
    const collection = await this.#collection(cursor.next).catch((error: unknown) => {
      throw isStored ? refusedLink(error) : error;
    });
    const entries = await this.#entries(cursor, collection.value);
    const next = this.#nextCursor(cursor, collection, guard);
    if (next !== null) return { page: { entries, resumeAt: printCursor(next) }, next };

    if (cursor.phase === "changes") {
      const watermark = printWatermark(changedLinks(cursor, collection.deltaLink), cursor.members);
      return { page: { entries, resumeAt: null, complete: { watermark } }, next };
    }
    const counted = await this.#sourceCount();
    // Who has come or gone during the listing need not be in it.
    const sourceCount = counted === undefined ? undefined : Math.min(counted, cursor.counted ?? counted);
    const complete = {
      watermark: printWatermark(cursor.links, cursor.members),
      ...(sourceCount === undefined ? {} : { sourceCount }),
    };
    return { page: { entries, resumeAt: null, complete }, next };
  }

  async #entries({ phase, type: name }: ImportCursor, value: readonly GraphObject[]): Promise<ImportEntry[]> {
    const type = this.#typeNamed(name);
    const { client, context, members } = this.#scope;
    switch (phase) {
      case "objects": {
        const objects = await withReferences(client, type, value, context);
        return objects.flatMap((object) => (object === undefined ? [] : entryOf(type, object, members)));
      }
      case "deletedObjects":
        return deletedEntries(type, value);
      case "changes":
        return this.#changeEntries(type, value);
    }
  }

  /**
   * A read that contradicts the round may come from a replica that lags behind: it is done once more after a while, and
   * then believed.
   */
  async #changeEntries(type: GraphObjectType, value: readonly GraphObject[]): Promise<ImportEntry[]> {
    const { client, context, members, replicationMs } = this.#scope;
    const entries: ImportEntry[] = [];
    const changed = new Map<string, GraphObject>();
    for (const change of value) {
      const anchor = anchorOf(change);
      if (anchor === undefined) entries.push(missingAnchor(type));
      // Of several the last one counts; but an id that was deleted for good never comes back.
      else if (removalOf(changed.get(anchor)) !== "deleted")
        changed.set(anchor, mergedChange(changed.get(anchor), change));
    }

    const open: string[] = [];
    const seen = new Map<string, Look>();
    for (const [anchor, change] of changed) {
      const recent = this.#recent.get(anchor);
      if (removalOf(change) === "deleted") entries.push({ kind: "absent", anchor, absence: "deleted" });
      // Read whole for the part before, and this part is in it.
      else if (recent !== undefined && !contradicts(change, recent)) seen.set(anchor, recent);
      else open.push(anchor);
    }
    const looks = await lookAt(client, [type], open, context);
    const contradicted = open.filter((anchor) => contradicts(changed.get(anchor)!, looks.get(anchor)!));
    if (contradicted.length > 0) {
      context.log(`${contradicted.length} ${type.name}s differ from what changed; they are read again.`);
      const { signal } = context;
      await sleep(replicationMs, undefined, signal === undefined ? {} : { signal });
      for (const [anchor, look] of await lookAt(client, [type], contradicted, context))
        looks.set(anchor, look);
    }
    for (const [anchor, look] of looks) {
      entries.push(
        look.kind === "gone"
          ? { kind: "absent", anchor, absence: look.absence }
          : entryOf(type, look.object, members),
      );
    }
    // Only those of one page, whatever a round brings; a user comes once and need not be remembered.
    this.#recent = type.name === "group" ? new Map([...seen, ...looks]) : new Map();
    return entries;
  }

  /**
   * Asked on its own: `$count` needs ConsistencyLevel eventual, which answers from an index that lags behind the
   * directory, and the listing shall not. https://learn.microsoft.com/graph/aad-advanced-queries
   */
  async #sourceCount(): Promise<number | undefined> {
    const { client, types, members } = this.#scope;
    // The count knows of no groups.
    if (members !== null) return undefined;
    let sum = 0;
    for (const type of types) {
      const url = client.url(`${type.collection}?${filtered(type)}$count=true&$top=1&$select=id`);
      const { count } = await this.#collection(url, { ConsistencyLevel: "eventual" });
      if (count === undefined) return undefined;
      sum += count;
    }
    return sum;
  }

  async #collection(url: string, headers: Record<string, string> = {}): Promise<Collection> {
    return collectionOf(await this.#scope.client.get(url, this.#scope.context, headers));
  }
}

/**
 * A kept link was good when the service gave it, so whatever the service has against it now, in whatever words, it does
 * not honour it any more. Had the settings been at fault, the full import would say so.
 */
function refusedLink(error: unknown): unknown {
  if (!(error instanceof ConnectorError) || error.kind !== "configuration") return error;
  const message = `Graph does not go on from where the last import ended. ${error.message} A full import is needed.`;
  return new ConnectorError("watermark-expired", message, { cause: error });
}

/** Where a delta round ended. */
function changedLinks({ links, type }: ImportCursor, deltaLink: string | undefined): DeltaLinks {
  if (deltaLink === undefined) throw notGraph("a delta answer with neither a next link nor a delta link");
  return { ...links, [type]: deltaLink };
}

/** The filter as a part of a query, or nothing. */
function filtered({ filter: { odata } }: GraphObjectType): string {
  return odata === "" ? "" : `$filter=${encodeURIComponent(odata)}&`;
}

/** @throws ConnectorError for what is no page: it must not pass for an empty one, which would end the listing early. */
function collectionOf(answer: unknown): Collection {
  const body = (answer ?? {}) as Record<string, unknown>;
  if (!Array.isArray(body.value)) throw notGraph("a page without `value`");
  const { value } = body;
  if (!value.every((item) => typeof item === "object" && item !== null))
    throw notGraph("a page of non-objects");
  const count = body["@odata.count"];
  return {
    value,
    nextLink: linkOf(body, "@odata.nextLink"),
    deltaLink: linkOf(body, "@odata.deltaLink"),
    count: typeof count === "number" ? count : undefined,
  };
}

function linkOf(body: Record<string, unknown>, name: string): string | undefined {
  const link = body[name];
  if (link === undefined || link === null) return undefined;
  if (typeof link !== "string" || !URL.canParse(link)) throw notGraph(`an ${name} that is no link`);
  return link;
}

// ---- entries -----------------------------------------------------------------------------------------------------

/** Only the ids are taken: Entra mangles the names of deleted users. */
function deletedEntries(type: GraphObjectType, value: readonly GraphObject[]): ImportEntry[] {
  // Others only cost rows; the engine passes over ids that it does not know.
  return value
    .filter(({ userType }) => type.filter.mayMatch({ userType }))
    .map((object) => {
      const anchor = anchorOf(object);
      return anchor === undefined ? missingAnchor(type) : { kind: "absent", anchor, absence: "softDeleted" };
    });
}

function entryOf(
  type: GraphObjectType,
  object: GraphObject,
  members: Pick<Members, "has"> | null,
): ImportEntry {
  const anchor = anchorOf(object);
  if (anchor === undefined) return missingAnchor(type);
  const absence = absenceOf(type, anchor, object, members);
  if (absence !== null) return { kind: "absent", anchor, absence };
  try {
    return { kind: "object", anchor, image: imageOf(type, anchor, object) };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return { kind: "error", anchor, dn: anchor, code: "invalid-attribute-value", message: error.message };
  }
}

/** Why an object that is there is none of ours; null for one of ours. Groups limit which users are. */
export function absenceOf(
  type: GraphObjectType,
  anchor: string,
  object: GraphObject,
  members: Pick<Members, "has"> | null,
): "outOfScope" | "notAllowed" | null {
  // Whoever is no longer a guest has left, and is not merely elsewhere.
  if (!type.filter.matches(object)) return "outOfScope";
  return type.name === "group" || members === null || members.has(anchor) ? null : "notAllowed";
}

export function imageOf({ name, attributes }: GraphObjectType, anchor: string, object: GraphObject) {
  return { objectType: name, dn: anchor, attributes: attributes.attributesOf(object) };
}

const missingAnchor = ({ name }: GraphObjectType): ImportEntry => ({
  kind: "error",
  code: "missing-anchor-component",
  message: `Graph gave a ${name} without an id.`,
});

function anchorOf(object: GraphObject): string | undefined {
  return typeof object.id === "string" && object.id !== "" ? object.id : undefined;
}
