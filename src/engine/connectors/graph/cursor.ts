/**
 * Where an import goes on: everything that another process needs, as one string.
 *
 *   full:  users, page by page ──► deletedUsers, page by page ──► complete, watermark = the delta link taken first
 *   delta: changes, page by page ──► complete, watermark = the last page's delta link
 *
 * Where groups limit the scope, a watermark is a delta link with the digest of the members as the import began.
 */
import { createHash } from "node:crypto";
import type { Cursor } from "../../ports/connector.ts";
import { ConnectorError } from "../../ports/connector.ts";

export interface ImportCursor {
  readonly phase: "users" | "deletedUsers" | "changes";
  /** The page to read: an absolute URL of the service, opaque. */
  readonly next: string;
  /** The delta link taken before anything was listed; null in the phase `changes`, which ends with its own. */
  readonly watermark: string | null;
  /** The digest of the groups' members when the import began; null where no groups limit the scope. */
  readonly members: string | null;
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
  return JSON.stringify({ version: 1, ...cursor });
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
    const { phase, next, watermark, members, guard } = json;
    return { phase, next, watermark, members, guard };
  }
  throw new ConnectorError(
    "watermark-expired",
    "The place to resume at is not one that this version of the Graph connector wrote.",
  );
}

/** @param members null: no groups limit the scope, and the delta link is all */
export function printWatermark(link: string, members: string | null): Cursor {
  return members === null ? link : JSON.stringify({ link, members });
}

/** @throws ConnectorError "watermark-expired" when groups limit the scope and it holds no digest of their members */
export function parseWatermark(text: Cursor, hasGroups: boolean): { link: string; members: string | null } {
  if (!hasGroups) return { link: text, members: null };
  try {
    const { link, members } = JSON.parse(text) as Record<string, unknown>;
    if (typeof link === "string" && typeof members === "string") return { link, members };
  } catch {
    // reported below, like any other text that is no such watermark
  }
  throw new ConnectorError("watermark-expired", "The watermark was made before groups limited the scope.");
}

function isCursor(json: unknown): json is ImportCursor {
  if (typeof json !== "object" || json === null) return false;
  const { version, phase, next, watermark, members, guard } = json as Record<string, unknown>;
  return (
    version === 1 &&
    typeof phase === "string" &&
    ["users", "deletedUsers", "changes"].includes(phase) &&
    typeof next === "string" &&
    (members === null || typeof members === "string") &&
    (phase === "changes" ? watermark === null : typeof watermark === "string") &&
    typeof (guard as Partial<LoopGuard> | null)?.kept === "string" &&
    typeof (guard as Partial<LoopGuard> | null)?.pages === "number"
  );
}
