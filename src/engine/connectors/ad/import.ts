import { z } from "zod";
import { ConnectorError, type Cursor, type ImportEntry, type ImportPage } from "../../ports/connector.ts";
import {
  type AdClient,
  all,
  atLeast,
  atMost,
  domainScope,
  type SearchPage,
  showDeleted,
} from "./adClient.ts";
import { changesSince, presentCookies } from "./dirSync.ts";
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
import { changedContainers, referencesMayBeLost, referrersOf, typesWithReferences } from "./unmarked.ts";
import { byGuid } from "./values.ts";

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
 * and comes with the next delta import. Where the account may replicate changes, a delta import asks for those instead
 * of walking windows (`dirSync.ts`).
 */

const usn = z.string().regex(/^\d+$/).transform(BigInt);

const watermarkSchema = z.object({
  kind: z.literal("watermark"),
  invocationId: z.string(),
  dsServiceName: z.string(),
  usn,
  /** ISO 8601. */
  takenAt: z.iso.datetime(),
  /** Of DirSync, where the account may use it; base64. */
  cookie: z.string().optional(),
});
export type Watermark = z.output<typeof watermarkSchema>;

const positionSchema = z.object({
  kind: z.enum(["full", "delta"]),
  /** The watermark that this import leaves; also the upper end of its windows. */
  watermark: watermarkSchema,
  /**
   * `cookie`: a full import takes the cookie for the delta imports after it (`dirSync.ts`).
   * `marked`: the windows of the drawing; with a cookie, a delta import reads `changes` in their place. It then reads what the directory does not mark as changed
   * (`unmarked.ts`), in windows of uSNCreated: all below `subtrees`, and those that may have lost references.
   */
  phase: z.enum(["cookie", "marked", "changes", "subtrees", "referrers"]),
  /** Anchors of containers. */
  subtrees: z.array(z.string()),
  /** Where a delta import began. */
  since: usn,
  /** Index into what the phase lists: the OUs, the domain, the subtrees. */
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
const firstWidth = 30_000n;
/**
 * What is read again at worst when an import goes on in another process, far less than a slice of it. uSNCreated has no
 * index, so for every window the directory looks at all that is in the OU: few windows, then.
 */
const wantedCount = 30_000;

export function startPosition(
  kind: "full" | "delta",
  low: bigint,
  dc: DomainController,
  deletionsUnseen: boolean,
  phase: "cookie" | "marked" = "marked",
): ImportPosition {
  const watermark: Watermark = {
    kind: "watermark",
    invocationId: dc.invocationId,
    dsServiceName: dc.dsServiceName,
    usn: dc.highestUsn,
    takenAt: new Date().toISOString(),
  };
  const begin = { phase, since: low, container: 0, low, width: firstWidth } as const;
  return { kind, watermark, ...begin, subtrees: [], deletionsUnseen };
}

/** A delta import from `from` on. */
export function deltaPosition(
  from: Watermark,
  dc: DomainController,
  deletionsUnseen: boolean,
): ImportPosition {
  const start = startPosition("delta", from.usn + 1n, dc, deletionsUnseen);
  if (from.cookie === undefined) return start;
  return { ...start, phase: "changes", watermark: { ...start.watermark, cookie: from.cookie } };
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
  readonly client: Pick<AdClient, "search" | "list" | "dirSync">;
  readonly schema: AdSchema;
  readonly baseDn: string;
  readonly containers: readonly string[];
  readonly pageSize: number;
  /** @throws ConnectorError when one of the containers is not there */
  requireContainers(): Promise<void>;
}

/** Pages from `start` to the end. @throws ConnectorError */
export async function* importFrom(scope: ImportScope, start: ImportPosition): AsyncGenerator<ImportPage> {
  // A page that may be the last is held back: only when no other follows is it known to be.
  let held: ImportPage | null = null;
  const steps = allPages(scope, start);
  try {
    for (;;) {
      const { value, done } = await steps.next();
      if (done === true) {
        yield { entries: held?.entries ?? [], resumeAt: null, complete: completion(start, value) };
        return;
      }
      if (held !== null) yield held;
      held = value.mayBeLast ? value.page : null;
      if (held === null) yield value.page;
    }
  } finally {
    await steps.return(start.watermark);
  }
}

interface Step {
  readonly page: ImportPage;
  readonly mayBeLast: boolean;
}

/** @returns the watermark that the import leaves: on the way it may have got another cookie. */
async function* allPages(
  scope: ImportScope,
  start: ImportPosition,
): AsyncGenerator<Step, Watermark, undefined> {
  let position = start;
  if (position.phase === "cookie") position = yield* takeCookie(scope, position);
  if (position.phase === "changes") position = yield* changes(scope, position);
  const { kind, phase, since, watermark, deletionsUnseen } = position;
  if (phase === "marked") {
    yield* windows(scope, position, kind === "full" ? scope.containers : [scope.baseDn]);
  }
  if (kind === "full" || since > watermark.usn) return watermark;

  const stretch = { low: since, high: watermark.usn, deletionsUnseen };
  const beginning = { ...position, subtrees: [], container: 0, low: 0n, width: firstWidth };
  if (phase !== "referrers") {
    const from: ImportPosition =
      phase === "subtrees"
        ? position
        : { ...beginning, phase: "subtrees", subtrees: await changedContainers(scope, stretch) };
    yield* windows(scope, from, from.subtrees.map(byGuid));
    if (!(await referencesMayBeLost(scope, stretch))) return watermark;
  }
  yield* windows(
    scope,
    phase === "referrers" ? position : { ...beginning, phase: "referrers" },
    scope.containers,
  );
  return watermark;
}

/** Pages without entries, so that another process can go on; a large domain takes several steps. */
async function* takeCookie(
  scope: ImportScope,
  start: ImportPosition,
): AsyncGenerator<Step, ImportPosition, undefined> {
  const { cookie: from, ...watermark } = start.watermark;
  for await (const { cookie, last } of presentCookies(scope, from)) {
    const reached = { ...start, watermark: { ...watermark, cookie } };
    if (last) return { ...reached, phase: "marked" };
    yield { page: { entries: [], resumeAt: toJson(reached) }, mayBeLast: false };
  }
  return { ...start, watermark, phase: "marked" };
}

async function* changes(
  scope: ImportScope,
  start: ImportPosition,
): AsyncGenerator<Step, ImportPosition, undefined> {
  let position = start;
  for await (const page of changesSince(scope, start.watermark.cookie ?? "")) {
    position = { ...position, watermark: { ...position.watermark, cookie: page.cookie } };
    const entries = await placed(scope, toEntries(scope, page.entries));
    const renamed = page.renamed.map((entry) => ({ dn: entry.dn, isTombstone: isTombstone(entry) }));
    entries.push(...(await referrers(scope, renamed)));
    if (entries.length > 0) yield { page: { entries, resumeAt: toJson(position) }, mayBeLast: true };
  }
  return position;
}

async function* windows(
  scope: ImportScope,
  start: ImportPosition,
  bases: readonly string[],
): AsyncGenerator<Step> {
  const high = start.watermark.usn;
  let { container, low, width } = start;
  for (; container < bases.length; container++, low = 0n, width = firstWidth) {
    do {
      const end = low + width - 1n < high ? low + width - 1n : high;
      let count = 0;
      for await (const page of readWindow(scope, start, bases[container]!, low, end)) {
        count += page.entries.length;
        const entries = await placed(
          scope,
          page.entries.flatMap(({ entry }) => entry ?? []),
        );
        if (start.kind === "delta" && start.phase !== "referrers") {
          entries.push(...(await referrers(scope, page.entries)));
        }
        const next = page.last
          ? { low: end + 1n, width: nextWidth(width, count) }
          : { low, width: narrower(width, low, page.entries) };
        if (entries.length === 0) continue;
        const resumeAt = toJson({ ...start, container, ...next });
        yield { page: { entries, resumeAt }, mayBeLast: page.last };
      }
      low = end + 1n;
      width = nextWidth(width, count);
    } while (low <= high);
  }
}

/** Those that refer to objects that may have been renamed. Deleted ones have no referrers any more. */
async function referrers(
  scope: ImportScope,
  changed: readonly Pick<Listed, "dn" | "isTombstone">[],
): Promise<ImportEntry[]> {
  const dns = changed.filter((one) => !one.isTombstone).map(({ dn }) => dn);
  const entries: ImportEntry[] = [];
  for await (const page of referrersOf(scope, dns)) {
    entries.push(...(await placed(scope, toEntries(scope, page))));
  }
  return entries;
}

function completion(start: ImportPosition, left: Watermark): NonNullable<ImportPage["complete"]> {
  const watermark = toJson(left);
  return start.deletionsUnseen ? { watermark, deletionsUnseen: true } : { watermark };
}

const isMarked = ({ kind, phase }: ImportPosition) => kind === "delta" && phase === "marked";
const usnAttribute = (position: ImportPosition) => (isMarked(position) ? "uSNChanged" : "uSNCreated");

/** What an import needs of an object in a window. */
interface Listed {
  /** Undefined for what is none of ours. */
  readonly entry: ImportEntry | undefined;
  readonly dn: string;
  readonly isTombstone: boolean;
  /** The update sequence number by which it was found. */
  readonly number: string | undefined;
}

async function* readWindow(
  scope: ImportScope,
  position: ImportPosition,
  base: string,
  low: bigint,
  end: bigint,
): AsyncGenerator<SearchPage<Listed>> {
  const attribute = usnAttribute(position);
  const types = position.phase === "referrers" ? typesWithReferences(scope.schema) : scope.schema;
  try {
    const options = {
      filter: typesFilter(types, all(atLeast(attribute, low), atMost(attribute, end))),
      attributes: [...readAttributes(scope.schema), attribute],
      controls: isMarked(position) ? [domainScope, ...showDeleted] : [domainScope],
      pageSize: scope.pageSize,
    };
    yield* scope.client.list(
      base,
      options,
      (entry): Listed => ({
        entry: toEntry(scope, position.kind, entry),
        dn: entry.dn,
        isTombstone: isTombstone(entry),
        number: firstText(entry, attribute),
      }),
    );
  } catch (error) {
    throw error instanceof LdapError ? readFailure(error, `Listing ${base}`) : error;
  }
}

/**
 * The same entries. Whatever seems to have left the scope has not if a container of the scope was renamed since the import
 * began: the names that were read are newer than the containers' names then. @throws ConnectorError
 */
async function placed(scope: ImportScope, entries: ImportEntry[]): Promise<ImportEntry[]> {
  if (entries.some((entry) => entry.kind === "absent" && entry.absence === "outOfScope"))
    await scope.requireContainers();
  return entries;
}

const toEntries = (scope: ImportScope, found: readonly LdapEntry[]) =>
  found.flatMap((entry) => toEntry(scope, "delta", entry) ?? []);

function toEntry(scope: ImportScope, kind: "full" | "delta", entry: LdapEntry): ImportEntry | undefined {
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
function narrower(width: bigint, low: bigint, entries: readonly Listed[]): bigint {
  const numbers = entries
    .map(({ number }) => number)
    .filter((text) => text !== undefined)
    .map(BigInt)
    .sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const half = (width + 1n) / 2n;
  const middle = numbers[Math.floor(numbers.length / 2)];
  return middle === undefined || middle - low + 1n > half ? half : middle - low + 1n;
}
