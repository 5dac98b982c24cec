import { z } from "zod";
import { ConnectorError, type Cursor, type ImportEntry, type ImportPage } from "../../ports/connector.ts";
import { type AdClient, all, atLeast, atMost, domainScope, type Filter, showDeleted } from "./adClient.ts";
import type { DomainController } from "./domainController.ts";
import {
  anchorOf,
  isInScope,
  isTombstone,
  objectTypeOf,
  readAttributes,
  toImportEntry,
  typesFilter,
} from "./entries.ts";
import { LdapError, readFailure } from "./ldapErrors.ts";
import type { LdapEntry } from "./ldapMessages.ts";
import { type AdSchema, firstText } from "./schema.ts";

/**
 * An import walks windows of update sequence numbers (USNs), because paging cookies die with their connection:
 *
 *   full   each OU in scope, uSNCreated from 0 to the watermark
 *   delta  the whole domain, deleted objects too, uSNChanged from the last watermark to the new one
 *
 *   0 ──[ window ][ window ][ window ]── watermark (highestCommittedUSN, read before the listing)
 *
 * A window holds at most as many objects as USNs, and is made wider or narrower by what the last one held. Inside a
 * window pages come in any order, so the cursor of a page within a window leads to the window's start, with half its
 * width: whoever stops there again and again still gets on. What is created or changed meanwhile has a greater USN
 * and comes with the next delta import.
 */

const usn = z.string().regex(/^\d+$/).transform(BigInt);

const watermarkSchema = z.object({
  kind: z.literal("watermark"),
  invocationId: z.string(),
  dsServiceName: z.string(),
  usn,
  /** ISO 8601. */
  takenAt: z.iso.datetime(),
});
export type Watermark = z.output<typeof watermarkSchema>;

const positionSchema = z.object({
  kind: z.enum(["full", "delta"]),
  /** The watermark that this import leaves; also the upper end of its windows. */
  watermark: watermarkSchema,
  /** Index into the OUs; always 0 for a delta import. */
  container: z.number().int().min(0),
  low: usn,
  width: usn,
  deletionsUnseen: z.boolean(),
});
export type ImportPosition = z.output<typeof positionSchema>;

const toJson = (value: object): Cursor =>
  JSON.stringify(value, (_, part) => (typeof part === "bigint" ? String(part) : part));

function fromJson<T>(schema: z.ZodType<T>, cursor: Cursor): T {
  try {
    return schema.parse(JSON.parse(cursor));
  } catch (error) {
    throw new ConnectorError(
      "watermark-expired",
      "The position of the last import was written by another version or another kind of connector.",
      { cause: error },
    );
  }
}

export const parseWatermark = (cursor: Cursor) => fromJson(watermarkSchema, cursor);
export const parsePosition = (cursor: Cursor) => fromJson(positionSchema, cursor);

/** A window of objects that were created one after the other begins this wide. */
const firstWidth = 10_000n;
/** About ten pages: what is read again at worst when an import goes on in another process. */
const wantedCount = 10_000;

export function startPosition(
  kind: "full" | "delta",
  low: bigint,
  dc: DomainController,
  deletionsUnseen: boolean,
): ImportPosition {
  const watermark: Watermark = {
    kind: "watermark",
    invocationId: dc.invocationId,
    dsServiceName: dc.dsServiceName,
    usn: dc.highestUsn,
    takenAt: new Date().toISOString(),
  };
  return { kind, watermark, container: 0, low, width: firstWidth, deletionsUnseen };
}

/** Deleted objects are kept for 60 days at least, unless somebody lowered that. [MS-ADTS] 6.1.1.2.4.1.1 */
const watermarkMaxAgeMs = 50 * 24 * 3600 * 1000;

/** @throws ConnectorError "watermark-expired" when the numbers of `watermark` mean nothing at this domain controller. */
export function requireSameDatabase(watermark: Watermark, dc: DomainController): void {
  const expired = (why: string) => {
    throw new ConnectorError("watermark-expired", `${why} A full import is needed.`);
  };
  if (watermark.invocationId !== dc.invocationId) {
    expired(
      `The last import read from ${watermark.dsServiceName}, this one reads from ${dc.dsServiceName} or from a restored database.`,
    );
  }
  if (dc.highestUsn < watermark.usn) {
    expired(`The update sequence number of ${dc.dsServiceName} has gone back: its database was replaced.`);
  }
  if (Date.now() - Date.parse(watermark.takenAt) > watermarkMaxAgeMs) {
    expired(`The last import was on ${watermark.takenAt}, and deletions are not remembered for ever.`);
  }
}

export interface ImportScope {
  readonly client: Pick<AdClient, "search">;
  readonly schema: AdSchema;
  readonly baseDn: string;
  readonly containers: readonly string[];
  readonly pageSize: number;
}

/** Pages from `start` to the end. @throws ConnectorError */
export async function* importFrom(scope: ImportScope, start: ImportPosition): AsyncGenerator<ImportPage> {
  const high = start.watermark.usn;
  const bases = start.kind === "full" ? scope.containers : [scope.baseDn];
  let { container, low, width } = start;
  for (; container < bases.length; container++, low = 0n, width = firstWidth) {
    do {
      const end = low + width - 1n < high ? low + width - 1n : high;
      const lastWindow = end >= high && container === bases.length - 1;
      let count = 0;
      for await (const page of readWindow(scope, start.kind, bases[container]!, low, end)) {
        count += page.entries.length;
        const entries = page.entries.flatMap((entry) => toEntries(scope, start.kind, entry) ?? []);
        if (page.last && lastWindow) {
          yield { entries, resumeAt: null, complete: completion(start) };
          return;
        }
        const next = page.last
          ? { low: end + 1n, width: nextWidth(width, count) }
          : { low, width: narrower(start.kind, width, low, page.entries) };
        if (entries.length > 0) yield { entries, resumeAt: toJson({ ...start, container, ...next }) };
      }
      low = end + 1n;
      width = nextWidth(width, count);
    } while (low <= high);
  }
}

function completion(start: ImportPosition): NonNullable<ImportPage["complete"]> {
  const watermark = toJson(start.watermark);
  return start.deletionsUnseen ? { watermark, deletionsUnseen: true } : { watermark };
}

const usnAttribute = (kind: "full" | "delta") => (kind === "full" ? "uSNCreated" : "uSNChanged");

async function* readWindow(
  scope: ImportScope,
  kind: "full" | "delta",
  base: string,
  low: bigint,
  end: bigint,
): AsyncGenerator<{ readonly entries: readonly LdapEntry[]; readonly last: boolean }> {
  const attribute = usnAttribute(kind);
  const window: Filter = all(atLeast(attribute, low), atMost(attribute, end));
  try {
    yield* scope.client.search(base, {
      filter: typesFilter(scope.schema, window),
      attributes: [...readAttributes(scope.schema), attribute],
      controls: kind === "full" ? [domainScope] : [domainScope, showDeleted],
      pageSize: scope.pageSize,
    });
  } catch (error) {
    throw error instanceof LdapError ? readFailure(error, `Listing ${base}`) : error;
  }
}

function toEntries(scope: ImportScope, kind: "full" | "delta", entry: LdapEntry): ImportEntry | undefined {
  if (kind === "full") return toImportEntry(scope.schema, entry);
  const inScope = !isTombstone(entry) && isInScope(entry.dn, scope.containers);
  if (inScope) return toImportEntry(scope.schema, entry);
  // Most of these were never ours: the domain's other users. What cannot be read there is not our concern.
  const anchor = anchorOf(entry);
  if (anchor === undefined || objectTypeOf(scope.schema, entry) === undefined) return undefined;
  return { kind: "absent", anchor, absence: isTombstone(entry) ? "deleted" : "outOfScope" };
}

function nextWidth(width: bigint, count: number): bigint {
  if (count < wantedCount / 8) return width * 8n;
  if (count < wantedCount / 2) return width * 2n;
  return count > wantedCount ? (width + 1n) / 2n : width;
}

/** The width for whoever has to begin this window again: half, or up to the middle of what was just seen. */
function narrower(kind: "full" | "delta", width: bigint, low: bigint, entries: readonly LdapEntry[]): bigint {
  const numbers = entries
    .map((entry) => firstText(entry, usnAttribute(kind)))
    .filter((text) => text !== undefined)
    .map(BigInt)
    .sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const half = (width + 1n) / 2n;
  const middle = numbers[Math.floor(numbers.length / 2)];
  return middle === undefined || middle - low + 1n > half ? half : middle - low + 1n;
}
