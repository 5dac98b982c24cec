/**
 * Where an import goes on: everything that another process needs, as one string.
 *
 *   full:  users, page by page ──► deleted users ──► groups ──► deleted groups ──► complete, watermark = the delta links
 *          that were taken first
 *   delta: changes of users, page by page ──► changes of groups ──► complete, watermark = the last pages' delta links
 *
 * A watermark is the delta link; where there are several types, or groups limit the scope, it is an object of the delta
 * links by type, with the digest of the groups' members as the import began.
 */
import { createHash } from "node:crypto";
import type { Cursor } from "../../ports/connector.ts";
import { ConnectorError } from "../../ports/connector.ts";
import type { GraphTypeName } from "./objectTypes.ts";

export type DeltaLinks = Readonly<Partial<Record<GraphTypeName, string>>>;

export interface ImportCursor {
  readonly phase: "objects" | "deletedObjects" | "changes";
  readonly type: GraphTypeName;
  /** The page to read: an absolute URL of the service, opaque. */
  readonly next: string;
  /**
   * Delta links by type. Of a full import: those taken before anything was listed. Of a delta import: where it began,
   * replaced by where it ended for each type that is done.
   */
  readonly links: DeltaLinks;
  /** The digest of the groups' members when the import began; null where no groups limit the scope. */
  readonly members: string | null;
  /** Of a full import: how many objects the source counted before anything was listed. */
  readonly counted?: number;
  readonly guard: LoopGuard;
}

/**
 * Finds that a chain of pages runs in a circle, in constant space and across processes (Brent's algorithm): one
 * link is kept, and replaced after 1, 2, 4, 8 … pages, so that it comes to lie in the circle.
 */
export interface LoopGuard {
  readonly kept: string;
  readonly pages: number;
}

export const newLoopGuard: LoopGuard = { kept: "", pages: 0 };

/** @throws ConnectorError "unreachable" when the link leads back to a page that has been read. */
export function advanceGuard(guard: LoopGuard, link: string): LoopGuard {
  const hash = createHash("sha256").update(link).digest("base64url").slice(0, 22);
  if (hash === guard.kept) {
    throw new ConnectorError(
      "unreachable",
      "Graph's pages run in a circle: a next link leads back to a page that has been read. Nothing is taken as complete.",
    );
  }
  const pages = guard.pages + 1;
  const isPowerOfTwo = (pages & (pages - 1)) === 0;
  return { kept: isPowerOfTwo ? hash : guard.kept, pages };
}

export function printCursor(cursor: ImportCursor): Cursor {
  return JSON.stringify({ version: 2, ...cursor });
}

/** @throws ConnectorError "watermark-expired" when it is not ours, or an older form. */
export function parseCursor(text: Cursor): ImportCursor {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = null; // reported below, like any other text that is no cursor
  }
  if (isCursor(json)) {
    const { phase, type, next, links, members, counted, guard } = json;
    return { phase, type, next, links, members, ...(counted === undefined ? {} : { counted }), guard };
  }
  throw new ConnectorError(
    "watermark-expired",
    "The place to resume at is not one that this version of the Graph connector wrote.",
  );
}

/** @param members null: no groups limit the scope */
export function printWatermark(links: DeltaLinks, members: string | null): Cursor {
  const { user, ...others } = links;
  if (members === null && user !== undefined && Object.keys(others).length === 0) return user;
  return JSON.stringify({ links, ...(members === null ? {} : { members }) });
}

/** @throws ConnectorError "watermark-expired" when it is of other types, or holds no digest where groups limit the scope */
export function parseWatermark(
  text: Cursor,
  types: readonly GraphTypeName[],
  hasGroups: boolean,
): { links: DeltaLinks; members: string | null } {
  const { links, members = null } = watermarkObject(text);
  const isComplete = types.every((type) => typeof links[type] === "string");
  if (isComplete && Object.keys(links).length === types.length && hasGroups === (members !== null)) {
    return { links, members };
  }
  throw new ConnectorError(
    "watermark-expired",
    hasGroups
      ? "The watermark was made before groups limited the scope, or for other object types."
      : "The watermark was made for other object types, or while groups limited the scope.",
  );
}

function watermarkObject(text: Cursor): { links: DeltaLinks; members?: string } {
  if (!text.startsWith("{")) return { links: { user: text } };
  try {
    const { links, members } = JSON.parse(text) as Record<string, unknown>;
    if (typeof links === "object" && links !== null)
      return { links, ...(typeof members === "string" ? { members } : {}) };
  } catch {
    // reported by the caller, like any other text that is no watermark
  }
  return { links: {} };
}

function isCursor(json: unknown): json is ImportCursor {
  if (typeof json !== "object" || json === null) return false;
  const { version, phase, type, next, links, members, counted, guard } = json as Record<string, unknown>;
  return (
    version === 2 &&
    typeof phase === "string" &&
    ["objects", "deletedObjects", "changes"].includes(phase) &&
    (type === "user" || type === "group") &&
    typeof next === "string" &&
    (members === null || typeof members === "string") &&
    (counted === undefined || typeof counted === "number") &&
    typeof links === "object" &&
    links !== null &&
    typeof (guard as Partial<LoopGuard> | null)?.kept === "string" &&
    typeof (guard as Partial<LoopGuard> | null)?.pages === "number"
  );
}
