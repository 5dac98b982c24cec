/**
 * A connected directory in memory and its connector: anchors of its own or given ones, changes numbered so that delta
 * imports have a watermark, unique names, and whatever can go wrong on the way.
 */
import { createHash } from "node:crypto";
import type { Absence, AttributeChange, Image } from "../../src/engine/core/model.ts";
import { ledOn } from "../../src/engine/core/references.ts";
import {
  type Attributes,
  type AttributeType,
  type AttributeValue,
  attributesEqual,
  dnKey,
  isReference,
  valuesOf,
} from "../../src/engine/core/values.ts";
import {
  type AbsenceVerdict,
  type Connector,
  type ConnectorCapabilities,
  type ConnectorContext,
  ConnectorError,
  type ExportChange,
  type ExportResult,
  type ImportEntry,
  type ImportPage,
  type ImportStart,
  type ObjectTypeSchema,
} from "../../src/engine/ports/connector.ts";

export interface MemoryObject {
  readonly anchor: string;
  dn: string;
  attributes: Record<string, AttributeValue>;
  /** Number of the last change. */
  version: number;
  /** Why the directory no longer lists it; null: it does. */
  gone: Absence | null;
}

export interface DirectoryShape {
  readonly objectType: string;
  /** Names and types; the schema that the directory tells. */
  readonly attributes: Readonly<Record<string, AttributeType>>;
  /** No two objects may have the same value, ignoring case. */
  readonly unique: readonly string[];
  /** The attribute by which an account of ours is known again; null: nothing is exported. */
  readonly stamp: string | null;
  /** Values that the directory itself gives a new object. */
  given?(anchor: string, dn: string): Attributes;
}

const textMax = 2000;

/** The directory itself, with the hands of an administrator. */
export class MemoryDirectory {
  readonly shape: DirectoryShape;
  readonly objects = new Map<string, MemoryObject>();
  readonly #more = new Map<string, AttributeType>();
  version = 0;
  /** What the connector wrote: `add CN=…`. */
  readonly writes: string[] = [];
  /** Watermarks below are no longer honoured. */
  honouredFrom = 0;
  /** Whether a listing ends with the directory's own count. */
  counts = false;
  /** Anchors that a full listing forgets, as a failing service does. */
  readonly forgotten = new Set<string>();
  /** What the first page of a listing shows of some objects, by anchor, before a later one shows them as they are. */
  readonly shownBefore = new Map<string, Attributes>();
  /** Entries that the connector cannot read, by anchor; some do not even show it. */
  readonly unreadable = new Map<string, { readonly code: string; readonly anchorless?: true }>();
  /** While it is set, every call ends with it. */
  failure: ConnectorError | null = null;
  /** Called before and after each write of the connector; may throw ConnectorError "unreachable". */
  beforeWrite: (change: string) => void = () => undefined;
  afterWrite: (change: string) => void = () => undefined;
  /** Called before each page of an import. */
  beforePage: () => void = () => undefined;

  constructor(shape: DirectoryShape) {
    this.shape = shape;
  }

  /** One more attribute in the schema. */
  allow(name: string, type: AttributeType): void {
    this.#more.set(name, type);
  }

  get attributes(): Readonly<Record<string, AttributeType>> {
    return { ...this.shape.attributes, ...Object.fromEntries(this.#more) };
  }

  add(dn: string, attributes: Attributes, anchor?: string): MemoryObject {
    const id = anchor ?? guidOf(`${++this.version}`);
    const object: MemoryObject = {
      anchor: id,
      dn,
      attributes: { ...attributes, ...this.shape.given?.(id, dn) },
      version: ++this.version,
      gone: null,
    };
    this.objects.set(id, object);
    return object;
  }

  change(anchor: string, changes: Readonly<Record<string, AttributeValue | undefined>>): void {
    const object = this.objects.get(anchor)!;
    for (const [name, value] of Object.entries(changes)) {
      if (value === undefined) delete object.attributes[name];
      else object.attributes[name] = value;
    }
    object.version = ++this.version;
  }

  rename(anchor: string, dn: string): void {
    const object = this.objects.get(anchor)!;
    this.#moveLinks(object.dn, dn);
    object.dn = dn;
    Object.assign(object.attributes, this.shape.given?.(anchor, dn));
    object.version = ++this.version;
  }

  remove(anchor: string, gone: Absence = "deleted"): void {
    const object = this.objects.get(anchor)!;
    if (gone === "deleted") this.#moveLinks(object.dn, null);
    object.gone = gone;
    object.version = ++this.version;
  }

  /** References are links, as in a real directory: they follow a rename, and nothing tells of their holders. */
  #moveLinks(from: string, to: string | null): void {
    for (const { attributes } of this.objects.values()) {
      for (const [name, value] of Object.entries(attributes)) {
        const led = ledOn(value, (dn) => (dnKey(dn) === dnKey(from) ? to : dn));
        if (led === undefined) delete attributes[name];
        else attributes[name] = led;
      }
    }
  }

  restore(anchor: string): void {
    const object = this.objects.get(anchor)!;
    object.gone = null;
    object.version = ++this.version;
  }

  /** What is there, in order of anchor. */
  listed(): MemoryObject[] {
    return [...this.objects.values()]
      .filter(({ gone }) => gone === null)
      .sort((a, b) => (a.anchor < b.anchor ? -1 : 1));
  }

  holderOf(dn: string, attributes: Attributes, except?: string): MemoryObject | undefined {
    return this.#living().find(
      (object) =>
        object.anchor !== except &&
        (dnKey(object.dn) === dnKey(dn) ||
          this.shape.unique.some(
            (name) =>
              attributes[name] !== undefined && attributesEqual(object.attributes[name], attributes[name]),
          )),
    );
  }

  stamped(stamp: AttributeValue): MemoryObject | undefined {
    const name = this.shape.stamp;
    if (name === null) return undefined;
    return this.#living().find((object) => attributesEqual(object.attributes[name], stamp));
  }

  #living(): MemoryObject[] {
    return [...this.objects.values()].filter(({ gone }) => gone === null || gone === "outOfScope");
  }
}

function guidOf(seed: string): string {
  const hex = createHash("sha256").update(seed).digest("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join(
    "-",
  );
}

interface Place {
  readonly full: boolean;
  /** Full: anchors above; delta: versions above. */
  readonly after: string;
  /** The directory's version when the import began. */
  readonly high: number;
}

export interface ConnectorOptions {
  readonly pageSize?: number;
  readonly exportBatchMax?: number;
  readonly scopeHash?: string;
  /** The process that works: asked before everything, so that a dead one does nothing more. */
  alive?(): void;
  /** Counted as an effect before each write. */
  effect?(): void;
  /** Waited for before each page, each object that is read and each change that is exported. */
  turn?(): Promise<void> | undefined;
}

export class MemoryConnector implements Connector {
  readonly capabilities: ConnectorCapabilities;
  readonly scopeHash: string;
  readonly #directory: MemoryDirectory;
  readonly #options: ConnectorOptions;
  readonly #flaw: ConnectorError | null;

  constructor(
    directory: MemoryDirectory,
    options: ConnectorOptions = {},
    flaw: ConnectorError | null = null,
  ) {
    this.#directory = directory;
    this.#options = options;
    this.#flaw = flaw;
    this.scopeHash = options.scopeHash ?? "memory";
    this.capabilities = {
      deltaImport: true,
      export: directory.shape.stamp !== null,
      exportBatchMax: options.exportBatchMax ?? 20,
      exportTimeoutMs: 30_000,
      dnSyntax: "dn",
    };
  }

  #ask(): void {
    this.#options.alive?.();
    const failure = this.#flaw ?? this.#directory.failure;
    if (failure !== null) throw failure;
  }

  async schema(): Promise<readonly ObjectTypeSchema[]> {
    this.#ask();
    const { attributes, shape } = this.#directory;
    const types = Object.entries(attributes).map(
      ([name, type]) => [name, { name, type, multiValued: name.startsWith("other") }] as const,
    );
    return [{ name: shape.objectType, attributes: new Map(types) }];
  }

  async *importPages(start: ImportStart): AsyncGenerator<ImportPage> {
    let place = this.#place(start);
    for (;;) {
      await this.#options.turn?.();
      this.#ask();
      this.#directory.beforePage();
      const page = place.full ? this.#fullPage(place) : this.#deltaPage(place);
      yield page;
      if (page.resumeAt === null) return;
      place = JSON.parse(page.resumeAt) as Place;
    }
  }

  #place(start: ImportStart): Place {
    const high = this.#directory.version;
    if (start.kind === "full") return { full: true, after: "", high };
    if (start.kind === "resume") return JSON.parse(start.cursor) as Place;
    const since = Number(start.watermark);
    if (since < this.#directory.honouredFrom)
      throw new ConnectorError("watermark-expired", "The directory no longer knows this watermark.");
    return { full: false, after: String(since), high };
  }

  get #pageSize(): number {
    return this.#options.pageSize ?? 4;
  }

  #fullPage(place: Place): ImportPage {
    const rest = this.#directory
      .listed()
      .filter(({ anchor }) => anchor > place.after && !this.#directory.forgotten.has(anchor));
    const early = place.after === "" ? [...this.#directory.shownBefore] : [];
    const entries = [
      ...early.map(([anchor, attributes]): ImportEntry => {
        const { dn } = this.#directory.objects.get(anchor)!;
        const { objectType } = this.#directory.shape;
        return { kind: "object", anchor, image: { objectType, dn, attributes } };
      }),
      ...rest.slice(0, this.#pageSize).map((object) => this.#entry(object)),
    ];
    return this.#page(entries, rest.length > this.#pageSize, {
      ...place,
      after: rest[this.#pageSize - 1]?.anchor ?? "",
    });
  }

  #deltaPage(place: Place): ImportPage {
    const rest = [...this.#directory.objects.values()]
      .filter(({ version }) => version > Number(place.after) && version <= place.high)
      .sort((a, b) => a.version - b.version);
    const entries = rest.slice(0, this.#pageSize).map((object) => this.#entry(object));
    return this.#page(entries, rest.length > this.#pageSize, {
      ...place,
      after: String(rest[this.#pageSize - 1]?.version ?? 0),
    });
  }

  #page(entries: readonly ImportEntry[], more: boolean, next: Place): ImportPage {
    if (more) return { entries, resumeAt: JSON.stringify(next) };
    const sourceCount = this.#directory.counts ? { sourceCount: this.#directory.listed().length } : {};
    return { entries, resumeAt: null, complete: { watermark: String(next.high), ...sourceCount } };
  }

  #entry(object: MemoryObject): ImportEntry {
    const { anchor, gone } = object;
    const flaw = this.#directory.unreadable.get(anchor);
    if (gone === null && flaw !== undefined) {
      const { code, anchorless } = flaw;
      const message = `${object.dn} cannot be read.`;
      return anchorless ? { kind: "error", code, message } : { kind: "error", anchor, code, message };
    }
    return gone === null
      ? { kind: "object", anchor, image: this.#image(object) }
      : { kind: "absent", anchor, absence: gone };
  }

  #image({ dn, attributes }: MemoryObject): Image {
    return { objectType: this.#directory.shape.objectType, dn, attributes: { ...attributes } };
  }

  async *listAnchors(): AsyncGenerator<readonly string[]> {
    this.#ask();
    yield this.#directory.listed().map(({ anchor }) => anchor);
  }

  async readAbsent(anchors: readonly string[]): Promise<readonly AbsenceVerdict[]> {
    await this.#options.turn?.();
    this.#ask();
    return anchors.map((anchor): AbsenceVerdict => {
      const object = this.#directory.objects.get(anchor);
      if (object === undefined) return { kind: "gone", absence: "deleted" };
      if (object.gone === null) return { kind: "present", image: this.#image(object) };
      // An account that was moved is somewhere; a user who became a member is out of the source's scope.
      if (object.gone === "outOfScope" && this.capabilities.export)
        return { kind: "movedOutOfScope", dn: object.dn };
      return { kind: "gone", absence: object.gone };
    });
  }

  async exportBatch(
    changes: readonly ExportChange[],
    context: ConnectorContext,
  ): Promise<readonly ExportResult[]> {
    const results: ExportResult[] = [];
    for (const change of changes) {
      await this.#options.turn?.();
      this.#ask();
      results.push(this.#export(change, context));
    }
    return results;
  }

  #export(change: ExportChange, context: ConnectorContext): ExportResult {
    const tooLong = change.attributes.find(
      ({ after }) => typeof after === "string" && after.length > textMax && after.length < textMax * 10,
    );
    if (tooLong !== undefined) {
      return failed("constraint-violation", `${change.dn}: ${tooLong.name} is longer than ${textMax}.`);
    }
    const dangling = Object.values(valuesAfter(change.attributes))
      .flatMap(valuesOf)
      .find((value) => isReference(value) && this.#directory.holderOf(value.dn, {}) === undefined);
    if (dangling !== undefined)
      return failed("dn-attributes-failure", `${change.dn}: it refers to an object that is not there.`);
    if (change.change === "add") return this.#add(change, context);
    const object = this.#directory.objects.get(change.anchor ?? "");
    if (object === undefined || object.gone === "deleted" || object.gone === "softDeleted") {
      return change.change === "delete"
        ? { kind: "exported", anchor: change.anchor!, dn: change.dn }
        : failed("cd-missing-object", `${change.dn}: it is not in the directory any more.`);
    }
    if (object.gone === "outOfScope") return failed("cd-missing-object", `${change.dn}: it was moved out.`);
    if (change.change === "delete") {
      this.#write(context, `delete ${object.dn}`, () => this.#directory.remove(object.anchor));
      return { kind: "exported", anchor: object.anchor, dn: object.dn };
    }
    return this.#update(object, change, context);
  }

  #add(change: ExportChange, context: ConnectorContext): ExportResult {
    const attributes = valuesAfter(change.attributes);
    const stamp = attributes[this.#directory.shape.stamp ?? ""];
    const own = stamp === undefined ? undefined : this.#directory.stamped(stamp);
    const holder = this.#directory.holderOf(change.dn, attributes, own?.anchor);
    if (holder !== undefined) {
      return failed(
        "cd-existing-object",
        `${change.dn}: ${holder.dn}, which is not ours, has the same name.`,
      );
    }
    if (own === undefined) {
      const made = this.#write(context, `add ${change.dn}`, () => this.#directory.add(change.dn, attributes));
      return { kind: "exported", anchor: made.anchor, dn: made.dn };
    }
    const { anchor } = own;
    const differs = Object.entries(attributes).some(
      ([name, value]) => !attributesEqual(own.attributes[name], value),
    );
    if (differs || dnKey(own.dn) !== dnKey(change.dn)) {
      this.#write(context, `resume ${change.dn}`, () => {
        this.#directory.change(anchor, attributes);
        this.#directory.rename(anchor, change.dn);
      });
    }
    return { kind: "exported", anchor, dn: change.dn, resumed: true };
  }

  #update(object: MemoryObject, change: ExportChange, context: ConnectorContext): ExportResult {
    const { anchor } = object;
    const open = change.attributes.filter(({ name, after }) => {
      return !attributesEqual(object.attributes[name], after);
    });
    const stale = open.find(({ name, before }) => !attributesEqual(object.attributes[name], before));
    if (stale !== undefined) {
      return failed("cd-error", `${object.dn}: somebody else has changed ${stale.name}.`);
    }
    const holder = this.#directory.holderOf(change.newDn ?? object.dn, valuesAfter(open), anchor);
    if (holder !== undefined)
      return failed("cd-existing-object", `${object.dn}: ${holder.dn} has the same name.`);
    if (open.length > 0) {
      this.#write(context, `update ${object.dn}`, () =>
        this.#directory.change(anchor, Object.fromEntries(open.map(({ name, after }) => [name, after]))),
      );
    }
    const { newDn } = change;
    if (newDn !== undefined && dnKey(newDn) !== dnKey(object.dn)) {
      this.#write(context, `rename ${object.dn}`, () => this.#directory.rename(anchor, newDn));
    }
    return { kind: "exported", anchor, dn: object.dn };
  }

  #write<T>(context: ConnectorContext, what: string, work: () => T): T {
    if (context.mayWrite?.() === false) {
      throw new ConnectorError("unreachable", "The time for this batch of exports is over.");
    }
    this.#options.effect?.();
    this.#directory.beforeWrite(what);
    const result = work();
    this.#directory.writes.push(what);
    this.#directory.afterWrite(what);
    return result;
  }

  async ping(): Promise<void> {
    this.#ask();
  }

  async close(): Promise<void> {
    return undefined;
  }
}

function valuesAfter(changes: readonly AttributeChange[]): Record<string, AttributeValue> {
  return Object.fromEntries(
    changes.flatMap(({ name, after }) => (after === undefined ? [] : [[name, after]])),
  );
}

function failed(code: string, message: string): ExportResult {
  return { kind: "failed", code, message };
}
