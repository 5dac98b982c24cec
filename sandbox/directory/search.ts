/** Searches: the root DSE, base, one-level and subtree reads, pages, DirSync. */
import { AttributeView, isReplicated } from "./attributeView.ts";
import {
  type Controls,
  type DirSyncRequest,
  decodeDirSyncCookie,
  dirSyncResponse,
  encodeDirSyncCookie,
  pagedResponse,
  supportedControls,
} from "./controls.ts";
import { type Directory, isWithin, type Principal } from "./directory.ts";
import { LdapError, resultCode } from "./errors.ts";
import { compileFilter, indexedCandidates } from "./filter.ts";
import { generalizedTime } from "./identifiers.ts";
import type { Result, ResultAttribute, SearchRequest } from "./protocol.ts";
import { attribute, type SchemaAttribute } from "./schema.ts";
import type { Entry, StoredValue } from "./store.ts";

/** MaxPageSize of a Windows domain controller: no answer holds more objects. */
const entriesMax = 1000;
/** MaxResultSetsPerConn: the oldest paged search of a connection is forgotten for the eleventh. */
const pagedSearchesMax = 10;

export interface SearchAnswer {
  readonly entries: readonly { readonly dn: string; readonly attributes: readonly ResultAttribute[] }[];
  readonly references: readonly string[];
  readonly result: Result;
}

interface PagedSearch {
  readonly candidates: readonly Entry[];
  next: number;
}

/** The searches of one connection; paging cookies mean nothing on another one. */
export class Searches {
  readonly #directory: Directory;
  readonly #paged = new Map<string, PagedSearch>();
  #lastCookie = 0;

  constructor(directory: Directory) {
    this.#directory = directory;
  }

  /** @throws LdapError */
  search(request: SearchRequest, controls: Controls, principal: Principal): SearchAnswer {
    const view = new AttributeView(this.#directory, principal);
    if (controls.dirSync !== undefined)
      return this.#dirSync(request, controls, controls.dirSync, principal, view);

    const { cookie, size } = controls.paged ?? { cookie: Buffer.alloc(0), size: entriesMax };
    const paged = cookie.length > 0 ? this.#resume(cookie) : undefined;
    const base = this.#directory.resolve(request.base, principal, controls.showDeleted);
    const state = paged ?? { candidates: this.#candidates(request, base), next: 0 };
    const matches = this.#matcher(request, base, controls, principal, view);

    // At least one, though a page of no entries is how a client gives a paged search up.
    if (controls.paged !== undefined && size === 0)
      return { entries: [], references: [], result: done(controls) };
    const asked = request.sizeLimit > 0 ? Math.min(request.sizeLimit, entriesMax) : entriesMax;
    const limit = controls.paged === undefined ? asked : Math.min(size, asked);
    const found: Entry[] = [];
    let more = false;
    for (; state.next < state.candidates.length; state.next++) {
      const entry = state.candidates[state.next]!;
      if (!matches(entry)) continue;
      more = found.length === limit;
      if (more) break;
      found.push(entry);
    }
    // RFC 2696 3: a size limit within the first page makes the search an ordinary one.
    const unpaged = controls.paged === undefined || (request.sizeLimit > 0 && request.sizeLimit <= size);
    const writer = new EntryWriter(this.#directory, view, request, controls);
    const answer = {
      entries: found.map((entry) => writer.write(entry)),
      references: paged === undefined ? this.#references(request, base, controls) : [],
    };
    if (!unpaged) return { ...answer, result: done(controls, more ? this.#remember(state) : undefined) };
    return { ...answer, result: { ...done(controls), code: more ? resultCode.sizeLimitExceeded : 0 } };
  }

  /** One value at a time: whether an entry holds it, as a search filter would find. */
  compare(entry: Entry, schema: SchemaAttribute, value: Buffer, principal: Principal): boolean {
    const view = new AttributeView(this.#directory, principal);
    return compileFilter(this.#directory, view, { kind: "equal", attribute: schema.name, value })(entry);
  }

  #candidates(request: SearchRequest, base: Entry): readonly Entry[] {
    if (request.scope === "base") return [base];
    const indexed = base.partition === this.#directory.store.root;
    const found = indexed ? indexedCandidates(this.#directory, request.filter) : undefined;
    if (found !== undefined) return found;
    const children = [...(base.children?.values() ?? [])];
    if (request.scope === "one") return children;
    const all = [base];
    for (let i = 0; i < all.length; i++) {
      for (const child of all[i]!.children?.values() ?? [])
        if (child.partition === base.partition) all.push(child);
    }
    return all;
  }

  #matcher(
    request: SearchRequest,
    base: Entry,
    controls: Controls,
    principal: Principal,
    view: AttributeView,
  ) {
    const filter = compileFilter(this.#directory, view, request.filter);
    const inScope = (entry: Entry) => {
      if (request.scope === "base") return entry === base;
      if (entry.partition !== base.partition) return false;
      return request.scope === "one" ? entry.parent === base : isWithin(entry, base);
    };
    return (entry: Entry) => {
      if (entry.deleted && !(controls.showDeleted && this.#directory.canRead(principal, entry))) return false;
      return inScope(entry) && filter(entry);
    };
  }

  /** Below the root of the domain lies another naming context, which the client is told to ask for by itself. */
  #references(request: SearchRequest, base: Entry, controls: Controls): string[] {
    const { store, dnsName, configurationDn } = this.#directory;
    if (controls.domainScope || request.scope === "base" || base !== store.root) return [];
    return [`ldaps://${dnsName}/${configurationDn}${request.scope === "one" ? "??base" : ""}`];
  }

  #remember(search: PagedSearch): Buffer {
    const cookie = String(++this.#lastCookie);
    this.#paged.set(cookie, search);
    const oldest = this.#paged.keys().next().value;
    if (this.#paged.size > pagedSearchesMax && oldest !== undefined) this.#paged.delete(oldest);
    return Buffer.from(cookie);
  }

  #resume(cookie: Buffer): PagedSearch {
    const key = cookie.toString();
    const search = this.#paged.get(key);
    if (search === undefined)
      throw new LdapError(resultCode.unwillingToPerform, 0x57, "unknown paging cookie");
    this.#paged.delete(key);
    return search;
  }

  /**
   * What changed since the cookie: of a changed object the changed attributes only, an empty list of values for
   * one that was cleared. Objects come in the order of their last change, so none is missed between two rounds.
   */
  #dirSync(
    request: SearchRequest,
    controls: Controls,
    dirSync: DirSyncRequest,
    principal: Principal,
    view: AttributeView,
  ): SearchAnswer {
    const directory = this.#directory;
    if (controls.paged !== undefined) {
      throw new LdapError(resultCode.operationsError, 0x2020, "DirSync cannot be paged");
    }
    const base = directory.resolve(request.base, principal, controls.showDeleted);
    if (base.partition !== base) {
      const code = dirSync.objectSecurity
        ? resultCode.unwillingToPerform
        : resultCode.insufficientAccessRights;
      throw new LdapError(code, 0x2035, "DirSync starts at the root of a naming context");
    }
    if (!dirSync.objectSecurity && principal.kind !== "administrator") {
      const text = "DirSync without OBJECT_SECURITY needs the right to replicate";
      throw new LdapError(resultCode.insufficientAccessRights, 0x2105, text);
    }
    const since = decodeDirSyncCookie(dirSync.cookie, directory.invocationId);
    const matches = this.#matcher(request, base, { ...controls, showDeleted: true }, principal, view);
    const writer = new EntryWriter(directory, view, request, controls);
    const entries: { dn: string; attributes: ResultAttribute[] }[] = [];
    const bytesMax = dirSync.maxBytes > 0 ? dirSync.maxBytes : Number.POSITIVE_INFINITY;
    let bytes = 0;
    let upTo = directory.store.highestCommittedUsn;
    let more = false;
    for (const entry of directory.store.changedBetween(since + 1, upTo)) {
      if (entries.length === entriesMax || bytes >= bytesMax) {
        more = true;
        upTo = entry.usnChanged - 1;
        break;
      }
      if (!matches(entry)) continue;
      const changes = writer.writeChanges(entry, since);
      if (changes === undefined) continue;
      entries.push(changes);
      for (const { values } of changes.attributes) for (const value of values) bytes += value.length;
    }
    const cookie = encodeDirSyncCookie(directory.invocationId, upTo);
    const result = { code: resultCode.success, controls: [dirSyncResponse(more, cookie)] };
    return { entries, references: [], result };
  }
}

function done(controls: Controls, cookie?: Buffer): Result {
  const answered = controls.paged === undefined ? [] : [pagedResponse(cookie ?? Buffer.alloc(0))];
  return { code: resultCode.success, controls: answered };
}

interface Selection {
  readonly schema: SchemaAttribute;
  /** Of `member;range=0-1499`; `to` is absent for `*`. */
  readonly range?: { readonly from: number; readonly to: number | undefined };
}

/** Turns entries into what a request asked for. */
class EntryWriter {
  readonly #directory: Directory;
  readonly #view: AttributeView;
  readonly #typesOnly: boolean;
  readonly #extendedDn: Controls["extendedDn"];
  readonly #all: boolean;
  readonly #selected: readonly Selection[];

  constructor(directory: Directory, view: AttributeView, request: SearchRequest, controls: Controls) {
    this.#directory = directory;
    this.#view = view;
    this.#typesOnly = request.typesOnly;
    this.#extendedDn = controls.extendedDn;
    this.#all = request.attributes.length === 0 || request.attributes.includes("*");
    this.#selected = request.attributes.flatMap(selection); // unknown names, `1.1` among them, select nothing
  }

  write(entry: Entry): { dn: string; attributes: ResultAttribute[] } {
    const attributes: ResultAttribute[] = [];
    const keys = new Set<string>();
    const put = ({ schema, range }: Selection) => {
      if (keys.has(schema.key)) return;
      const values = this.#view.values(entry, schema);
      if (values.length === 0) return;
      keys.add(schema.key);
      if (range === undefined && values.length > valuesMax) {
        attributes.push({ name: schema.name, values: [] });
        attributes.push(this.#attribute(schema, values, { from: 0, to: undefined }));
      } else {
        attributes.push(this.#attribute(schema, values, range));
      }
    };
    if (this.#all) for (const key of this.#view.keys(entry)) put({ schema: attribute(key)! });
    for (const selected of this.#selected) put(selected);
    return { dn: this.#dn(entry), attributes };
  }

  /** @returns undefined when nothing of what was asked for has changed since the USN */
  writeChanges(entry: Entry, since: number): { dn: string; attributes: ResultAttribute[] } | undefined {
    const changedAt = (key: string) => entry.changedAt?.get(key) ?? entry.usnCreated;
    const keys = new Set(this.#all ? this.#view.keys(entry) : this.#selected.map(({ schema }) => schema.key));
    if (this.#all) for (const key of entry.changedAt?.keys() ?? []) keys.add(key);
    const attributes: ResultAttribute[] = [];
    for (const key of keys) {
      const schema = attribute(key)!;
      if (!isReplicated(schema, entry) || changedAt(key) <= since) continue;
      const values = this.#view.values(entry, schema);
      const cleared = values.length === 0 && entry.changedAt?.has(key) === true;
      if (values.length > 0 || cleared) attributes.push(this.#attribute(schema, values));
    }
    if (attributes.length === 0) return undefined;
    const always = ["objectguid", "instancetype"];
    if (changedAt("name") > since && entry.parent !== undefined) always.push("parentguid");
    for (const key of always) {
      const schema = attribute(key)!;
      if (attributes.some(({ name }) => name === schema.name)) continue;
      attributes.push(this.#attribute(schema, this.#view.values(entry, schema)));
    }
    return { dn: this.#dn(entry), attributes };
  }

  #attribute(
    schema: SchemaAttribute,
    values: readonly StoredValue[],
    range?: Selection["range"],
  ): ResultAttribute {
    const capped = range && {
      from: range.from,
      to: Math.min(range.to ?? values.length, range.from + valuesMax - 1),
    };
    const name = capped === undefined ? schema.name : rangeName(schema.name, capped, values.length);
    const shown = capped === undefined ? values : values.slice(capped.from, capped.to + 1);
    return { name, values: this.#typesOnly ? [] : shown.map((value) => this.#shown(value)) };
  }

  #shown(value: StoredValue): string | Uint8Array {
    return typeof value === "string" || value instanceof Uint8Array ? value : this.#dn(value);
  }

  /** With the extended DN control, GUID and SID stand in front: `<GUID=…>;<SID=…>;CN=…`. */
  #dn(entry: Entry): string {
    const dn = this.#directory.dnOf(entry);
    if (this.#extendedDn === undefined) return dn;
    const form = (key: string, text: string | undefined) => {
      if (this.#extendedDn === "text") return text;
      const [bytes] = this.#view.values(entry, attribute(key)!);
      return Buffer.from(bytes as Uint8Array).toString("hex");
    };
    const sid = this.#directory.sidOf(entry);
    const guidPart = `<GUID=${form("objectGUID", entry.guid)}>;`;
    return `${guidPart}${sid === undefined ? "" : `<SID=${form("objectSid", sid)}>;`}${dn}`;
  }
}

/** The default of MaxValRange: more values of an attribute are shown in ranges. [MS-ADTS] 3.1.1.3.1.3.3 */
const valuesMax = 1500;

function selection(requested: string): Selection[] {
  const [name, ...options] = requested.split(";");
  const schema = attribute(name!);
  if (schema === undefined) return [];
  const range = options
    .map((option) => /^range=(\d+)-(\d+|\*)$/i.exec(option))
    .find((match) => match !== null);
  if (range === undefined) return [{ schema }];
  return [{ schema, range: { from: Number(range[1]), to: range[2] === "*" ? undefined : Number(range[2]) } }];
}

function rangeName(name: string, { from, to }: { from: number; to: number }, count: number): string {
  return `${name};range=${from}-${to >= count - 1 ? "*" : to}`;
}

/** The root DSE: what anybody may ask of a server before binding. */
export function rootDse(directory: Directory, requested: readonly string[]): ResultAttribute[] {
  const all = requested.length === 0 || requested.includes("*") || requested.includes("+");
  const serviceName = directory.dnOf(directory.serviceEntry);
  const attributes: Record<string, string | readonly string[]> = {
    configurationNamingContext: directory.configurationDn,
    currentTime: generalizedTime(Date.now()),
    defaultNamingContext: directory.baseDn,
    dnsHostName: `dc1.${directory.dnsName}`,
    domainControllerFunctionality: "7",
    domainFunctionality: "7",
    dsServiceName: serviceName,
    forestFunctionality: "7",
    highestCommittedUSN: String(directory.store.highestCommittedUsn),
    isGlobalCatalogReady: "TRUE",
    isSynchronized: "TRUE",
    namingContexts: [directory.baseDn, directory.configurationDn, directory.schemaDn],
    rootDomainNamingContext: directory.baseDn,
    schemaNamingContext: directory.schemaDn,
    serverName: serviceName.slice(serviceName.indexOf(",") + 1),
    supportedCapabilities: [
      "1.2.840.113556.1.4.800", // Active Directory
      "1.2.840.113556.1.4.1670",
      "1.2.840.113556.1.4.1791",
      "1.2.840.113556.1.4.1935",
      "1.2.840.113556.1.4.2080",
    ],
    supportedControl: supportedControls,
    supportedLDAPVersion: ["3", "2"],
    vendorName: "Vestibule directory sandbox",
  };
  const wanted = new Set(requested.map((name) => name.toLowerCase()));
  return Object.entries(attributes)
    .filter(([name]) => all || wanted.has(name.toLowerCase()))
    .map(([name, values]) => ({ name, values: typeof values === "string" ? [values] : values }));
}
