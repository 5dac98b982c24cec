import pMap from "p-map";
import type { Configuration, ConnectorConfiguration } from "../core/configuration.ts";
import { importedId, shardOf } from "../core/identity.ts";
import { inboundScope } from "../core/inbound.ts";
import type { ConnectorSpaceObject } from "../core/model.ts";
import { withLinkMoved } from "../core/references.ts";
import { decideStaging, isDeletion, type StagingOptions } from "../core/staging.ts";
import { dnKey } from "../core/values.ts";
import {
  type Connector,
  type ConnectorContext,
  ConnectorError,
  type ImportStart,
} from "../ports/connector.ts";
import { StoreError } from "../ports/tables.ts";
import type { ObjectWrite } from "../stores/connectorSpace.ts";
import { anchorHash, type Stored } from "../stores/connectorSpaceRows.ts";
import type { ConnectorState, StoredState } from "../stores/connectorState.ts";
import type { Counters } from "../stores/fence.ts";
import { HashTable } from "../stores/hashTable.ts";
import type { RunError } from "../stores/runs.ts";
import { anchorKey } from "../stores/seen.ts";
import { chunked } from "../stores/texts.ts";
import { oneAhead, together } from "./batches.ts";
import { DigestTable } from "./digestTable.ts";
import { type EngineParts, isoTime } from "./engine.ts";
import { ImportErrors } from "./importErrors.ts";
import { holdBeyondLimits, seenCounter, withoutSeen } from "./importLimits.ts";
import {
  type AbsentEntry,
  type ListedObject,
  type ObjectEntry,
  type SortedPage,
  sortedPages,
} from "./importPage.ts";
import { runError } from "./runErrors.ts";
import { type Slice, type SliceOutcome, stepKey } from "./stepHandler.ts";

/**
 * Where an import stands. Pages are staged one by one; what a complete import did not show is looked at afterwards,
 * in a phase of its own.
 */
export interface Cursor {
  readonly phase: "pages" | "missing";
  readonly full: boolean;
  /** Why a delta import became a full one. */
  readonly detail: string | null;
  readonly page: number;
  readonly resume: string | null;
  /** How many entries could not be read. */
  readonly errors: number;
  readonly complete: {
    readonly watermark: string;
    readonly sourceCount?: number;
    readonly deletionsUnseen?: true;
  } | null;
  /** In the phase "missing": ids up to this one have been dealt with; null: the listing has not been judged yet. */
  readonly missingUpTo: string | null;
  /** In the phase "missing" of a full import: somebody has accepted that the source has shrunk. */
  readonly accepted?: boolean;
  /** How many objects the listing did not show although they are there. */
  readonly present: number;
  /** In a delta import: DNs that an object has come to and another still had. */
  readonly shared: readonly string[];
  /** Nothing has been written to the connector space yet. */
  readonly untouched?: boolean;
}

const missingBatch = 100;
const writesAtOnce = 1000;
const digestsWorthwhile = 100;
const conflictRetries = 5;

export function start(full: boolean, detail: string | null): Cursor {
  const nothingYet = {
    page: 0,
    resume: null,
    errors: 0,
    complete: null,
    missingUpTo: null,
    present: 0,
    shared: [],
    untouched: true,
  };
  return { phase: "pages", full, detail, ...nothingYet };
}

export const importKey = (slice: Slice) => ({ runId: slice.run.id, step: slice.step.number - 1 });

/** One time slice of one import. */
export class ImportJob {
  readonly #parts: EngineParts;
  readonly #slice: Slice;
  readonly #connector: Connector;
  readonly #definition: ConnectorConfiguration;
  readonly #configuration: Configuration;
  readonly #options: StagingOptions;
  readonly #context: ConnectorContext;
  readonly #errors: ImportErrors;
  /** As it was at the start of this slice. */
  readonly #stored: StoredState;
  /** By anchor hash; only loaded for a full import. */
  #digests: DigestTable | null = null;
  #readingDigests: Promise<DigestTable> | null = null;
  /** What this slice has staged since. */
  readonly #staged = new HashTable();
  /** Whether this slice has written to the connector space, or tried to. */
  #touched = false;
  /** How many entries this slice has been given. */
  #entries = 0;
  /** DNs that objects of the page have come to. */
  readonly #arrivals: string[] = [];

  constructor(
    parts: EngineParts,
    slice: Slice,
    connector: Connector,
    configuration: Configuration,
    stored: StoredState,
  ) {
    this.#parts = parts;
    this.#slice = slice;
    this.#connector = connector;
    this.#stored = stored;
    this.#definition = configuration.connectors.get(slice.step.connector)!;
    this.#configuration = configuration;
    this.#errors = new ImportErrors(parts, slice);
    this.#context = { log: (message) => slice.log(message), signal: slice.signal };
    this.#options = {
      connector: slice.step.connector,
      now: isoTime(parts.clock.now()),
      retainMs: this.#definition.retainMs,
      schemas: configuration.schemas.get(slice.step.connector) ?? [],
      inScope: inboundScope(slice.step.connector, configuration),
    };
  }

  get #name(): string {
    return this.#slice.step.connector;
  }

  async run(from: Cursor): Promise<SliceOutcome> {
    const cursor = from.phase === "pages" ? await this.#pages(from) : from;
    if ("kind" in cursor) return cursor;
    return this.#missing(cursor);
  }

  /** Whether the import, so far, consists of this slice, and this slice was given no entry. */
  get #nothingYet(): boolean {
    return this.#slice.cursor === null && this.#entries === 0;
  }

  /** Whether every slice of the import was worked on once: nobody else can have written or counted in its name. */
  get #isOnlyWorker(): boolean {
    const { epoch, seq } = this.#slice.lease.checkpoint;
    return epoch === seq + 1;
  }

  async #pages(from: Cursor): Promise<Cursor | SliceOutcome> {
    let cursor = from;
    // A page is staged while the place after the one before is saved: whoever goes on there stages it once more.
    let saved: Promise<void> = Promise.resolve();
    const save = async (statistics: Counters) => {
      await saved;
      saved = this.#slice.save(JSON.stringify(cursor), statistics);
      saved.catch(() => undefined); // whoever waits for it gets the error
    };
    const pages = sortedPages(this.#connector.importPages(this.#importStart(cursor), this.#context));
    if (cursor.full) this.#loadDigests().catch(() => undefined); // whoever needs them gets the error
    // While changes are staged the connector may be asked for single objects, so it is left alone meanwhile.
    for await (const one of cursor.full ? oneAhead(pages) : pages) {
      const { page, failed } = one;
      this.#entries += page.entries.length;
      const statistics = await this.#stagePage(one, cursor);
      const errors = cursor.errors + failed.length;
      // In a full import whoever has lost its DN is either shown with another or found missing.
      const arrivals = this.#arrivals.splice(0);
      const shared = cursor.full ? [] : [...cursor.shared, ...(await this.#sharedOf(arrivals))];
      const untouched = cursor.untouched === true && !this.#touched;
      cursor = { ...cursor, page: cursor.page + 1, resume: page.resumeAt, errors, shared, untouched };
      if (page.complete !== undefined) {
        cursor = { ...cursor, phase: "missing", complete: page.complete };
        // Of a delta import without an entry there is nothing to save: asking the source again costs no more.
        if (!cursor.full && this.#nothingYet) return cursor;
        await save(statistics);
        await saved;
        return cursor;
      }
      if (page.resumeAt === null) break;
      await save(statistics);
      if (!this.#slice.overBudget()) continue;
      await saved;
      return { kind: "continue", cursor: JSON.stringify(cursor) };
    }
    await saved;
    return {
      kind: "done",
      status: "completed-discovery-errors",
      detail: "The listing ended before its last page. Nothing was taken as deleted.",
    };
  }

  #importStart(cursor: Cursor): ImportStart {
    if (cursor.resume !== null) return { kind: "resume", cursor: cursor.resume };
    if (cursor.full) return { kind: "full" };
    const { watermark } = this.#stored.state;
    if (watermark === null) throw new ConnectorError("watermark-expired", "There is no watermark.");
    return { kind: "delta", watermark };
  }

  #loadDigests(): Promise<DigestTable> {
    this.#readingDigests ??= this.#readDigests();
    return this.#readingDigests;
  }

  async #readDigests(): Promise<DigestTable> {
    const digests = new DigestTable();
    await this.#parts.connectorSpace.eachDigest(this.#name, (digest) => digests.add(digest));
    this.#digests = digests;
    return digests;
  }

  /** @returns what was counted outside the partitions: objects that did not change. */
  async #stagePage(
    { objects, absent, failed, anchorHashes }: SortedPage,
    { full, page }: Cursor,
  ): Promise<Counters> {
    await this.#errors.reportEntries(failed);
    // Two or three requests find one object; one request reads a thousand digests.
    if (full || objects.length + absent.length > digestsWorthwhile) await this.#loadDigests();
    const changed = objects.filter(({ hash, digest }) => this.#digests?.isUnchanged(hash, digest) !== true);
    const seen = full ? anchorHashes : [];
    const [unchanged] = await together(
      this.#stageAll(changed),
      this.#parts.seen.add(importKey(this.#slice), page, seen),
    );
    // In a full import what is gone is found by not having been seen, after the guards have judged the listing.
    for (const chunk of chunked(full ? [] : absent, () => 1, missingBatch)) await this.#stageAbsent(chunk);
    if (objects.length > 0) await this.#errors.settled(objects.map(({ entry }) => entry.anchor));
    const stageNoChange = objects.length - changed.length + unchanged;
    return stageNoChange === 0 ? {} : { stageNoChange };
  }

  /** @returns how many of them had not changed after all. */
  async #stageAll(objects: readonly ListedObject[]): Promise<number> {
    let unchanged = 0;
    for (const chunk of chunked(objects, () => 1, writesAtOnce)) {
      unchanged += await this.#stage(chunk.map(({ entry }) => entry));
      if (this.#digests === null) continue;
      for (const { hash } of chunk) {
        // Should a later page show the object as it was before, that is a change again.
        this.#digests.lookAgain(hash);
        this.#staged.add(anchorKey(hash));
      }
    }
    return unchanged;
  }

  /** @returns how many of them had not changed after all. */
  async #stage(entries: readonly (ObjectEntry | AbsentEntry)[]): Promise<number> {
    for (let attempt = 1; ; attempt++) {
      const found = await pMap(entries, (entry) => this.#find(entry, attempt > 1), { concurrency: 16 });
      const writes: (ObjectWrite & { readonly counters: Counters })[] = [];
      const errors: { readonly object: string; readonly error: RunError }[] = [];
      let unchanged = 0;
      for (const [index, entry] of entries.entries()) {
        const before = found[index] ?? null;
        const decision = decideStaging(before?.object ?? null, entry, this.#options);
        if (decision.kind === "unchanged") unchanged++;
        if (decision.kind === "remove")
          writes.push({ before, after: null, counters: { [decision.counter]: 1 } });
        if (decision.kind !== "write") continue;
        const after = decision.object;
        if (before === null || dnKey(before.object.dn) !== dnKey(after.dn)) this.#arrivals.push(after.dn);
        const counters = { [decision.counter]: 1, ...seenCounter(before?.object ?? null, after) };
        writes.push({ before, after, due: this.#due(after), counters });
        if (decision.error !== null)
          errors.push({ object: after.id, error: runError(decision.error, after) });
      }
      try {
        await this.#slice.report(errors); // a replay finds them unchanged once they are written
        await this.#moveLinks(writes);
        await this.#write(writes);
        return unchanged;
      } catch (error) {
        if (!(error instanceof StoreError) || error.kind !== "conflict" || attempt === conflictRetries)
          throw error;
      }
    }
  }

  /**
   * A directory that holds links shows a rename or a deletion only of the object itself: those that refer to it by its
   * DN are brought up to date here, before it loses the DN by which they are found.
   */
  async #moveLinks(writes: readonly ObjectWrite[]): Promise<void> {
    const moved = writes.flatMap(({ before, after }) => {
      const from = before?.object.dn;
      if (from === undefined || !from.includes("=") || before?.object.anchor == null) return [];
      const to = after === null || after.pendingImport?.change === "delete" ? null : after.dn;
      return to !== null && dnKey(to) === dnKey(from) ? [] : [{ from, to }];
    });
    for (const { from, to } of moved) {
      const referring = await this.#parts.connectorSpace.findReferring(this.#name, from);
      const others = referring.filter(
        ({ object }) => !writes.some(({ before }) => before?.object.id === object.id),
      );
      await this.#write(
        others.map((before) => ({ before, after: withLinkMoved(before.object, from, to), counters: {} })),
      );
    }
  }

  async #write(writes: readonly (ObjectWrite & { readonly counters: Counters })[]): Promise<void> {
    if (writes.length === 0) return;
    this.#touched = true;
    const shards = writes.map(({ before, after }) => shardOf((after ?? before!.object).id));
    await this.#parts.state.markDirty(this.#name, "importShards", shards, stepKey(this.#slice));
    const dues = writes.flatMap(({ due }) => due ?? []).sort();
    if (dues.length > 0) await this.#noteDue(dues[0]!);
    await this.#parts.connectorSpace.write(this.#slice.writer, writes);
  }

  async #noteDue(due: string): Promise<void> {
    await this.#parts.state.update(this.#name, (state) =>
      state.nextDue !== null && state.nextDue <= due ? state : { ...state, nextDue: due },
    );
  }

  #due({ absence }: ConnectorSpaceObject): string | null {
    if (absence === null || this.#options.retainMs === null) return null;
    return isoTime(Date.parse(absence.since) + this.#options.retainMs);
  }

  /**
   * Our copy of the object: by its anchor, or the export object with its DN that was sent and not seen yet.
   * @param doubtful whether it may have come since the digests were read; otherwise one that has is a conflict
   */
  async #find(entry: ObjectEntry | AbsentEntry, doubtful: boolean): Promise<Stored | undefined> {
    const { connectorSpace } = this.#parts;
    if (this.#digests !== null) {
      const hash = anchorHash(entry.anchor);
      const known = this.#digests.get(hash);
      if (known !== undefined) return connectorSpace.get(this.#name, known.id);
      // An earlier page has staged it, or another worker did before it lost its lease.
      if (doubtful || this.#staged.find(anchorKey(hash)) >= 0) {
        const fresh = await connectorSpace.get(this.#name, importedId(this.#name, entry.anchor));
        if (fresh !== undefined) return fresh;
      }
    } else {
      const found = await connectorSpace.findByAnchor(this.#name, entry.anchor);
      if (found !== undefined) return found;
    }
    if (entry.kind === "absent" || this.#digests?.anchorless === 0) return undefined;
    const sameDn = await connectorSpace.findByDn(this.#name, entry.image.dn);
    return sameDn.find(
      ({ object }) => object.anchor === null && (object.escrow !== null || object.unconfirmed !== null),
    );
  }

  /**
   * What the source says is gone, or a complete listing did not show. That is a suspicion, not a fact: each known
   * object is read directly first.
   * @returns how many turned out to be there.
   */
  async #stageAbsent(entries: readonly AbsentEntry[]): Promise<number> {
    const found = await pMap(entries, (entry) => this.#find(entry, true), { concurrency: 16 });
    const known = entries.filter((_, index) => found[index] !== undefined);
    if (known.length === 0) return 0;
    const verdicts = await this.#connector.readAbsent(
      known.map(({ anchor }) => anchor),
      this.#context,
    );
    const stage: (ObjectEntry | AbsentEntry)[] = [];
    const moved: Parameters<ImportErrors["reportObjects"]>[0][number][] = [];
    let present = 0;
    for (const [index, { anchor }] of known.entries()) {
      const verdict = verdicts[index]!;
      if (verdict.kind === "gone") stage.push({ kind: "absent", anchor, absence: verdict.absence });
      if (verdict.kind === "present") {
        present++;
        stage.push({ kind: "object", anchor, image: verdict.image });
      }
      if (verdict.kind === "movedOutOfScope") {
        const object = found.find((one) => one?.object.anchor === anchor)!.object;
        moved.push({
          object: object.id,
          trouble: {
            code: "object-moved-out-of-scope",
            anchor,
            dn: verdict.dn,
            message: `It lies outside the connector's scope now and is left alone; nothing is created in its place. It was ${object.dn}. Move it back, or widen the scope.`,
          },
        });
      }
    }
    await this.#errors.reportObjects(moved);
    await this.#stage(stage);
    await this.#errors.settled(stage.map(({ anchor }) => anchor));
    return present;
  }

  /** Those of the DNs that several objects have; two of one DN cannot both be there. */
  async #sharedOf(dns: readonly string[]): Promise<string[]> {
    const holders = await pMap(dns, (dn) => this.#holdersOf(dn), { concurrency: 16 });
    return dns.filter((_, index) => holders[index]!.length > 1);
  }

  async #holdersOf(dn: string): Promise<string[]> {
    if (!dn.includes("=")) return [];
    const found = await this.#parts.connectorSpace.findByDn(this.#name, dn);
    return found.flatMap(({ object }) =>
      object.pendingImport?.change === "delete" ? [] : (object.anchor ?? []),
    );
  }

  /**
   * Objects whose DN another has taken, and of which the delta import told nothing: each is read directly.
   * @returns how many are transient even so (SEMANTICS S6, S8)
   */
  async #transients(dns: readonly string[]): Promise<number> {
    for (const dn of await this.#sharedOf(dns)) {
      const anchors = await this.#holdersOf(dn);
      await this.#stageAbsent(anchors.map((anchor) => ({ kind: "absent", anchor, absence: "deleted" })));
    }
    return (await this.#sharedOf(dns)).length;
  }

  /** After the last page: what is missing, the guards, the watermark. */
  async #missing(from: Cursor): Promise<SliceOutcome> {
    const cursor = await this.#withAcceptance(from);
    const complete = cursor.complete!;
    let { present } = cursor;
    let distinct = 0;
    if (cursor.full || complete.deletionsUnseen === true) {
      const seen = cursor.full ? await this.#parts.seen.load(importKey(this.#slice)) : await this.#listed();
      const digests = await this.#loadDigests();
      const missing = digests.missing(seen);
      if (cursor.full && cursor.missingUpTo === null) {
        const known = digests.living;
        const lost = missing.filter(({ gone }) => !gone).length;
        const short = await this.#shortListing(known, lost, seen.size, complete.sourceCount);
        if (short !== null) return { kind: "done", status: "completed-discovery-errors", detail: short };
      }
      const left = missing.filter(({ id }) => id > (cursor.missingUpTo ?? ""));
      for (const chunk of chunked(left, () => 1, missingBatch)) {
        const stored = await this.#parts.connectorSpace.getMany(
          this.#name,
          chunk.map(({ id }) => id),
        );
        const entries = [...stored.values()].flatMap(({ object }): AbsentEntry[] =>
          object.anchor === null ||
          (object.absence !== null && isDeletion(object.absence.kind)) ||
          object.pendingImport?.change === "delete"
            ? []
            : [{ kind: "absent", anchor: object.anchor, absence: "deleted" }],
        );
        present += await this.#stageAbsent(entries);
        const dealtWith = JSON.stringify({ ...cursor, missingUpTo: chunk.at(-1)!.id, present });
        await this.#slice.save(dealtWith);
        if (this.#slice.overBudget()) return { kind: "continue", cursor: dealtWith };
      }
      if (cursor.full) await this.#errors.completed();
      distinct = seen.size;
    }
    const transient = await this.#transients(cursor.shared);
    // A whole delta import without an entry: no replay of it can have counted anything.
    const idle = !cursor.full && this.#nothingYet && !complete.deletionsUnseen;
    const isUntouched = idle || (this.#isOnlyWorker && cursor.untouched === true && !this.#touched);
    const counted = isUntouched
      ? {}
      : await this.#parts.connectorSpace.counted(this.#name, importKey(this.#slice));
    const statistics = cursor.full ? this.#correction(distinct, counted) : {};
    // Before the watermark moves on: after it a replay would not see the same again.
    const held = cursor.accepted
      ? null
      : await holdBeyondLimits(this.#parts, this.#slice, this.#configuration, counted);
    const finished = (state: ConnectorState): ConnectorState => ({
      ...state,
      watermark: complete.watermark,
      scopeHash: this.#connector.scopeHash,
      watermarkAt: isoTime(this.#parts.clock.now()),
      ...(cursor.full && {
        fullImportAt: isoTime(this.#parts.clock.now()),
        shrunkRun: null,
        shrunkTo: null,
        acceptedPopulation: null,
      }),
    });
    await this.#parts.state.update(this.#name, finished, this.#stored);
    const details = [
      cursor.detail,
      transient > 0
        ? `${transient} objects have lost their DN to others, and where they are now could not be found.`
        : null,
      present > 0
        ? `The listing did not show ${present} objects that are there; they were read one by one.`
        : null,
      cursor.errors > 0 ? `${cursor.errors} objects could not be read; see the errors.` : null,
      complete.deletionsUnseen === true
        ? "The account may not read deleted objects, so the population was compared instead. Grant it read on Deleted Objects."
        : null,
      held,
    ].filter((detail) => detail !== null);
    const hasWarnings = present > 0 || cursor.errors > 0 || held !== null;
    const status =
      transient > 0 ? "completed-transient-objects" : hasWarnings ? "completed-warnings" : "success";
    return {
      kind: "done",
      status,
      statistics,
      idle,
      ...(this.#isOnlyWorker ? { counted: withoutSeen(counted) } : {}),
      ...(details.length > 0 ? { detail: details.join(" ") } : {}),
    };
  }

  /** Kept with the cursor: it is used up with the watermark, and a replay after that is to know of it. */
  async #withAcceptance(cursor: Cursor): Promise<Cursor> {
    if (!cursor.full || cursor.accepted) return cursor;
    const { acceptedPopulation } = await this.#parts.state.get(this.#name);
    if (acceptedPopulation === null) return cursor;
    const accepted = { ...cursor, accepted: true };
    await this.#slice.save(JSON.stringify(accepted));
    return accepted;
  }

  async #listed(): Promise<HashTable> {
    const seen = new HashTable();
    for await (const anchors of this.#connector.listAnchors!(this.#context)) {
      for (const anchor of anchors) seen.add(anchorKey(anchorHash(anchor)));
    }
    return seen;
  }

  /**
   * A listing that lost too much is not believed: nothing is taken as deleted, and the cycle ends. Whether it has
   * shrunk can be answered for by a person (`acceptImport`), the source's own count cannot.
   * @returns why it is not believed; null when it is
   */
  async #shortListing(
    known: number,
    missing: number,
    seen: number,
    sourceCount: number | undefined,
  ): Promise<string | null> {
    // The source's own count may lag a little behind its listing.
    const tolerance = Math.max(2, Math.ceil((sourceCount ?? 0) / 100));
    if (sourceCount !== undefined && seen + tolerance < sourceCount) {
      return `The import showed ${seen} objects, but the source counts ${sourceCount}. Nothing was taken as deleted.`;
    }
    const { shrinkPercent, percentFrom } = this.#definition.limits;
    if (known < percentFrom || missing * 100 <= known * shrinkPercent) return null;
    const { acceptedPopulation: accepted } = await this.#parts.state.get(this.#name);
    if (accepted !== null && Math.abs(seen - accepted) * 100 <= accepted) return null;
    await this.#parts.state.update(this.#name, (state) => ({
      ...state,
      shrunkRun: this.#slice.run.id,
      shrunkTo: seen,
    }));
    return `The import showed ${seen} objects; ${missing} of the ${known} known ones are missing, more than ${shrinkPercent} percent. Nothing was taken as deleted. If the source has really shrunk, accept this import.`;
  }

  /** Pages that were staged twice counted what they had staged as unchanged the second time; the sum is known. */
  #correction(distinct: number, counted: Counters): Counters {
    const staged = ["stageAdd", "stageUpdate", "stageRename", "stageDeleteAdd"].reduce(
      (sum, name) => sum + (counted[name] ?? 0),
      0,
    );
    const already = this.#slice.lease.checkpoint.statistics.stageNoChange ?? 0;
    const difference = Math.max(0, distinct - staged - (counted.stageNoChange ?? 0)) - already;
    return difference === 0 ? {} : { stageNoChange: difference };
  }
}
