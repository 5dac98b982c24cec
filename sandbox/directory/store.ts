/**
 * The directory's objects: a tree with indexes, update sequence numbers and a journal. It keeps what it is told
 * to keep; whether an operation is allowed and what it implies is decided in `operations.ts`.
 */
import { randomUUID } from "node:crypto";
import { type Rdn, rdnKey } from "./dn.ts";
import type { Journal } from "./journal.ts";
import { attributes, isForwardLink, type SchemaClass, schemaClass } from "./schema.ts";

/** Text in the form LDAP shows it, octets, or for DN syntaxes the object referred to. */
export type StoredValue = string | Uint8Array | Entry;
/** A single value stands for itself: with 200,000 objects the arrays would cost more than the values. */
export type StoredValues = StoredValue | readonly StoredValue[];

export interface Entry {
  /** objectGUID in text form: the identity that survives renames, moves and deletion. */
  readonly guid: string;
  readonly objectClass: SchemaClass;
  /** The last part of objectSid, for users and groups. */
  readonly rid: number | undefined;
  parent: Entry | undefined;
  rdn: Rdn;
  /** Stored attributes by key. Names, times, GUID and the like are computed from the other members. */
  readonly values: Record<string, StoredValues>;
  // The three maps are absent while they are empty, as they are for most objects.
  children: Map<string, Entry> | undefined;
  /** Who refers to this object, by the key of the forward link. */
  backLinks: Map<string, Set<Entry>> | undefined;
  /** The USN at which an attribute changed after creation, by key: what DirSync has to send. */
  changedAt: Map<string, number> | undefined;
  readonly usnCreated: number;
  usnChanged: number;
  /** Milliseconds since 1970. */
  readonly whenCreated: number;
  whenChanged: number;
  deleted: boolean;
  /** Root of the naming context; the entry itself for a root. */
  readonly partition: Entry;
}

export interface NewEntry {
  readonly parent: Entry | undefined;
  readonly rdn: Rdn;
  readonly objectClass: SchemaClass;
  readonly values: Record<string, StoredValues>;
  readonly guid?: string;
  readonly rid?: number;
  /** The entry begins a naming context of its own. */
  readonly root?: boolean;
}

export interface EntryUpdate {
  /** New values by key; undefined clears the attribute. */
  readonly values?: ReadonlyMap<string, StoredValues | undefined>;
  readonly rename?: { readonly parent: Entry; readonly rdn: Rdn };
  readonly deleted?: boolean;
}

/** Attributes that are found by an index; comparing ignores case. `name` also serves `cn` and `ou`. */
const indexedKeys = [
  "name",
  "samaccountname",
  "userprincipalname",
  "mail",
  "displayname",
  "admindescription",
  "employeeid",
  "employeenumber",
  "proxyaddresses",
  "msds-cloudextensionattribute1",
] as const;

/** One entry as it stands in the journal; references are GUIDs. */
interface Image {
  g: string;
  p?: string;
  n: Rdn;
  c: string;
  r?: number;
  v: Record<string, ImageValue | ImageValue[]>;
  b?: Record<string, number>;
  u: [number, number];
  w: [number, number];
  d?: true;
  root?: true;
}
type ImageValue = string | { bytes: string } | { entry: string };

export class DirectoryStore {
  readonly #byGuid = new Map<string, Entry>();
  readonly #byRid = new Map<number, Entry>();
  readonly #indexes = new Map<string, Map<string, Entry | Set<Entry>>>(
    indexedKeys.map((key) => [key, new Map()]),
  );
  /** Every change in the order of its USN. A record is stale when its entry has changed again. */
  #changes: { readonly usn: number; readonly entry: Entry }[] = [];
  readonly #creations: Entry[] = [];
  readonly #journal: Journal | undefined;
  #root: Entry | undefined;
  #highestUsn = 0;
  #nextRid = 1103;

  constructor(journal?: Journal) {
    this.#journal = journal;
  }

  /** The root of the domain. */
  get root(): Entry {
    return this.#root!;
  }
  get highestCommittedUsn(): number {
    return this.#highestUsn;
  }
  allocateRid(): number {
    return this.#nextRid++;
  }

  byGuid(guid: string): Entry | undefined {
    return this.#byGuid.get(guid);
  }
  byRid(rid: number): Entry | undefined {
    return this.#byRid.get(rid);
  }

  /** Entries whose attribute has the value, deleted ones included; undefined when there is no such index. */
  lookUp(key: string, value: string): Iterable<Entry> | undefined {
    const index = this.#indexes.get(key);
    if (index === undefined) return undefined;
    const found = index.get(value.toLowerCase());
    return found === undefined ? [] : found instanceof Set ? found : [found];
  }

  /** Entries of every naming context that last changed from `low` to `high`, in the order of their changes. */
  *changedBetween(low: number, high: number): Generator<Entry> {
    for (let i = firstIndex(this.#changes, (change) => change.usn >= low); i < this.#changes.length; i++) {
      const { usn, entry } = this.#changes[i]!;
      if (usn > high) return;
      if (entry.usnChanged === usn) yield entry;
    }
  }

  /** Entries that were created from `low` to `high`, in that order. */
  createdBetween(low: number, high: number): Entry[] {
    const from = firstIndex(this.#creations, (entry) => entry.usnCreated >= low);
    const to = firstIndex(this.#creations, (entry) => entry.usnCreated > high);
    return this.#creations.slice(from, to);
  }

  create(entry: NewEntry): Entry {
    const usn = ++this.#highestUsn;
    const now = Date.now();
    const stamps = { usnCreated: usn, usnChanged: usn, whenCreated: now, whenChanged: now };
    const created = this.#build(entry, entry.guid ?? randomUUID(), stamps);
    this.#attach(created);
    this.#creations.push(created);
    this.#changes.push({ usn, entry: created });
    this.#record([created]);
    return created;
  }

  /** An object that is made from program text at each start: in the tree, but neither journalled nor stamped. */
  createFixed(entry: NewEntry): void {
    const stamps = { usnCreated: 1, usnChanged: 1, whenCreated: 0, whenChanged: 0 };
    this.#attach(this.#build(entry, entry.guid ?? randomUUID(), stamps));
  }

  /** Applies an update under one new USN. Deleting also removes the links to and from the entry. */
  update(entry: Entry, update: EntryUpdate): void {
    const usn = ++this.#highestUsn;
    const touched = [entry];
    this.#detach(entry);
    entry.changedAt ??= new Map();
    for (const [key, values] of update.values ?? []) {
      if (values === undefined) delete entry.values[key];
      else entry.values[key] = values;
      entry.changedAt.set(key, usn);
    }
    if (update.rename !== undefined) {
      entry.parent = update.rename.parent;
      entry.rdn = update.rename.rdn;
      entry.changedAt.set("name", usn);
    }
    if (update.deleted !== undefined) {
      entry.deleted = update.deleted;
      entry.changedAt.set("isdeleted", usn);
    }
    if (update.deleted === true) touched.push(...this.#dropReferencesTo(entry));
    entry.usnChanged = usn;
    entry.whenChanged = Date.now();
    this.#attach(entry);
    this.#changes.push({ usn, entry });
    if (this.#changes.length > 2 * this.#creations.length + 10_000) {
      this.#changes = this.#changes.filter((change) => change.entry.usnChanged === change.usn);
    }
    this.#record(touched);
  }

  /** @returns false when the journal is new, so that the caller has to make the first objects */
  load(): boolean {
    const images = new Map<string, Image>();
    this.#journal?.read((record) => {
      for (const image of record as Image[]) images.set(image.g, image);
    });
    for (const image of images.values()) {
      this.#materialize(image, images);
    }
    for (const image of images.values()) {
      const entry = this.#byGuid.get(image.g)!;
      for (const [key, values] of Object.entries(image.v)) {
        entry.values[key] = Array.isArray(values)
          ? values.map((value) => this.#fromImage(value))
          : this.#fromImage(values);
      }
    }
    for (const entry of [...this.#byGuid.values()]) {
      this.#attach(entry);
      this.#creations.push(entry);
      this.#changes.push({ usn: entry.usnChanged, entry });
      this.#highestUsn = Math.max(this.#highestUsn, entry.usnChanged);
      if (entry.rid !== undefined) this.#nextRid = Math.max(this.#nextRid, entry.rid + 1);
    }
    this.#creations.sort((a, b) => a.usnCreated - b.usnCreated);
    this.#changes.sort((a, b) => a.usn - b.usn);
    if (this.#journal !== undefined && this.#journal.lines > 2 * images.size + 1000) {
      this.#journal.rewrite(this.#creations.map((entry) => [toImage(entry)]));
    }
    return images.size > 0;
  }

  close(): void {
    this.#journal?.close();
  }

  #build(
    entry: NewEntry,
    guid: string,
    stamps: Pick<Entry, "usnCreated" | "usnChanged" | "whenCreated" | "whenChanged">,
  ) {
    const made = {
      guid,
      objectClass: entry.objectClass,
      rid: entry.rid,
      parent: entry.parent,
      rdn: entry.rdn,
      values: entry.values,
      children: undefined,
      backLinks: undefined,
      changedAt: undefined,
      deleted: false,
      ...stamps,
    } as Omit<Entry, "partition"> as { -readonly [member in keyof Entry]: Entry[member] };
    made.partition = entry.root === true || entry.parent === undefined ? made : entry.parent.partition;
    return made as Entry;
  }

  /** Puts an entry into the tree and every index. */
  #attach(entry: Entry): void {
    this.#byGuid.set(entry.guid, entry);
    if (entry.rid !== undefined) this.#byRid.set(entry.rid, entry);
    if (entry.parent === undefined) {
      this.#root = entry;
    } else {
      entry.parent.children ??= new Map();
      entry.parent.children.set(rdnKey(entry.rdn), entry);
    }
    for (const [key, index] of this.#indexes) {
      for (const value of indexedValues(entry, key)) {
        const found = index.get(value);
        if (found === undefined) index.set(value, entry);
        else if (found instanceof Set) found.add(entry);
        else if (found !== entry) index.set(value, new Set([found, entry]));
      }
    }
    this.#eachLink(entry, (key, target) => {
      target.backLinks ??= new Map();
      const referrers = target.backLinks.get(key);
      if (referrers === undefined) target.backLinks.set(key, new Set([entry]));
      else referrers.add(entry);
    });
  }

  #detach(entry: Entry): void {
    entry.parent?.children?.delete(rdnKey(entry.rdn));
    for (const [key, index] of this.#indexes) {
      for (const value of indexedValues(entry, key)) {
        const found = index.get(value);
        if (found instanceof Set) found.delete(entry);
        else if (found === entry) index.delete(value);
      }
    }
    this.#eachLink(entry, (key, target) => target.backLinks?.get(key)?.delete(entry));
  }

  #eachLink(entry: Entry, use: (key: string, target: Entry) => void): void {
    for (const key of forwardLinkKeys) {
      for (const value of listOf(entry.values[key])) use(key, value as Entry);
    }
  }

  /** As in Active Directory the referrers lose the value without a new USN of their own. */
  #dropReferencesTo(entry: Entry): Entry[] {
    const referrers: Entry[] = [];
    for (const [key, entries] of entry.backLinks ?? []) {
      for (const referrer of entries) {
        const left = listOf(referrer.values[key]).filter((value) => value !== entry);
        if (left.length === 0) delete referrer.values[key];
        else referrer.values[key] = left;
        referrers.push(referrer);
      }
    }
    entry.backLinks = undefined;
    return referrers;
  }

  #record(entries: readonly Entry[]): void {
    this.#journal?.append(entries.map(toImage));
  }

  /** Makes the entry of an image after its parent's; its values follow when every entry is there. */
  #materialize(image: Image, images: ReadonlyMap<string, Image>): Entry {
    const known = this.#byGuid.get(image.g);
    if (known !== undefined) return known;
    const entry = this.#build(
      {
        parent: image.p === undefined ? undefined : this.#materialize(images.get(image.p)!, images),
        rdn: image.n,
        objectClass: schemaClass(image.c)!,
        values: {},
        ...(image.r === undefined ? {} : { rid: image.r }),
        ...(image.root === undefined ? {} : { root: true }),
      },
      image.g,
      { usnCreated: image.u[0], usnChanged: image.u[1], whenCreated: image.w[0], whenChanged: image.w[1] },
    );
    entry.deleted = image.d === true;
    if (image.b !== undefined) entry.changedAt = new Map(Object.entries(image.b));
    this.#byGuid.set(image.g, entry);
    return entry;
  }

  #fromImage(value: ImageValue): StoredValue {
    if (typeof value === "string") return value;
    return "entry" in value ? this.#byGuid.get(value.entry)! : Buffer.from(value.bytes, "base64");
  }
}

const forwardLinkKeys = attributes.filter(isForwardLink).map((entry) => entry.key);

export function listOf(values: StoredValues | undefined): readonly StoredValue[] {
  return values === undefined ? [] : Array.isArray(values) ? values : [values as StoredValue];
}

function indexedValues(entry: Entry, key: string): string[] {
  if (key === "name") return [entry.rdn.value.toLowerCase()];
  const values = entry.values[key];
  if (values === undefined) return [];
  return listOf(values).map((value) => (value as string).toLowerCase());
}

function toImage(entry: Entry): Image {
  const valueImage = (value: StoredValue): ImageValue => {
    if (typeof value === "string") return value;
    return value instanceof Uint8Array
      ? { bytes: Buffer.from(value).toString("base64") }
      : { entry: value.guid };
  };
  const values = Object.entries(entry.values).map(([key, stored]) => [
    key,
    Array.isArray(stored) ? stored.map(valueImage) : valueImage(stored as StoredValue),
  ]);
  return {
    g: entry.guid,
    ...(entry.parent === undefined ? {} : { p: entry.parent.guid }),
    n: entry.rdn,
    c: entry.objectClass.name,
    ...(entry.rid === undefined ? {} : { r: entry.rid }),
    v: Object.fromEntries(values),
    ...(entry.changedAt === undefined ? {} : { b: Object.fromEntries(entry.changedAt) }),
    u: [entry.usnCreated, entry.usnChanged],
    w: [entry.whenCreated, entry.whenChanged],
    ...(entry.deleted ? { d: true } : {}),
    ...(entry.partition === entry ? { root: true } : {}),
  };
}

/** Index of the first item that satisfies a condition which all later ones satisfy too. */
function firstIndex<T>(items: readonly T[], satisfies: (item: T) => boolean): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (satisfies(items[middle]!)) high = middle;
    else low = middle + 1;
  }
  return low;
}
