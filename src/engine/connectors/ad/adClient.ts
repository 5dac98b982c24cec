import {
  AddRequest,
  AndFilter,
  Attribute,
  Ber,
  BerWriter,
  BindRequest,
  Change,
  Control,
  DeleteRequest,
  EqualityFilter,
  type Filter,
  GreaterThanEqualsFilter,
  LessThanEqualsFilter,
  ModifyDNRequest,
  ModifyRequest,
  NotFilter,
  OrFilter,
  PagedResultsControl,
  PresenceFilter,
  SearchRequest,
  UnbindRequest,
} from "ldapts";
import { ConnectorError } from "../../ports/connector.ts";
import { type ConnectionTarget, LdapConnection, type LdapRequest, type TakeEntry } from "./ldapConnection.ts";
import { bindFailure, directoryFailure, LdapError, resultCode } from "./ldapErrors.ts";
import {
  dirSyncState,
  type LdapEntry,
  LdapProtocolError,
  type LdapResult,
  pagedResultsCookie,
} from "./ldapMessages.ts";

/**
 * The one place that speaks LDAP. ldapts gives the requests, filters and controls; connection, paging and
 * results are ours, because its client loses data silently (DIRECTORIES.md 2b):
 *
 *   parallel first calls hang           one connect-and-bind, shared by all callers
 *   reconnects without a bind           a dead connection is thrown away; the next call binds anew
 *   an empty page ends paging           only an empty cookie ends it
 *   code 4 is swallowed                 every code but 0 is an error
 *   absent attributes come as []        only what the server sent
 *   filter text corrupts binary values  filters are built, never parsed
 *   10 s time limit, no time-out        no time limit, a time-out on each request
 *   modifyDN splits names as text       RDN and superior are separate arguments
 *   passwords in debug output           nothing is printed
 */
export class AdClient {
  readonly #target: ConnectionTarget;
  readonly #bindDn: string;
  readonly #bindPassword: string;
  readonly #operationTimeoutMs: number;
  #connection: Promise<LdapConnection> | undefined;

  /** @throws ConnectorError "configuration" for a user or password that is empty: that would bind as nobody. */
  constructor(options: AdClientOptions) {
    if (options.bindDn === "" || options.bindPassword === "") {
      const setting = options.bindDn === "" ? "AD_BIND_DN" : "AD_BIND_PASSWORD";
      throw new ConnectorError("configuration", `${setting} is empty.`);
    }
    this.#target = options.target;
    this.#bindDn = options.bindDn;
    this.#bindPassword = options.bindPassword;
    this.#operationTimeoutMs = options.operationTimeoutMs;
  }

  /**
   * All entries that match, page by page; pages may be empty. `last` is true on the last page.
   * @throws LdapError when the directory refuses or cuts the answer; ConnectorError when it fails.
   */
  search(base: string, options: SearchOptions): AsyncGenerator<SearchPage> {
    return this.list(base, options, (entry) => entry);
  }

  /**
   * The same, of each entry only what `toItem` makes of it. That is done as it arrives, so of a page never more is held
   * than its items: raw, a page is several times as large, and fills the heap with what outlives its first collection.
   */
  async *list<Item>(
    base: string,
    options: SearchOptions,
    toItem: (entry: LdapEntry) => Item,
  ): AsyncGenerator<SearchPage<Item>> {
    const paging = new PagedResultsControl({ critical: true, value: { size: options.pageSize ?? 1000 } });
    const connection = await this.#connect(); // cookies are bound to the connection
    for (let emptyPages = 0; ; ) {
      const entries: Item[] = [];
      const incomplete: LdapEntry[] = [];
      const result = await this.#ask(
        new SearchRequest({
          messageId: 0,
          baseDN: base,
          scope: options.scope ?? "sub",
          filter: options.filter ?? present("objectClass"),
          attributes: [...options.attributes],
          timeLimit: 0,
          controls: [paging, ...(options.controls ?? [])],
        }),
        (entry) => {
          if (isIncomplete(entry)) incomplete.push(entry);
          else entries.push(toItem(entry));
        },
        connection,
      );
      const value = result.controls.get(PagedResultsControl.type);
      const cookie = value === undefined ? Buffer.alloc(0) : understood(() => pagedResultsCookie(value));
      for (const entry of incomplete) {
        entries.push(toItem(await this.#completeRanges(entry, options.controls)));
      }
      emptyPages = entries.length === 0 ? emptyPages + 1 : 0;
      if (emptyPages > emptyPagesMax && cookie.length > 0) {
        throw new ConnectorError(
          "unreachable",
          `${emptyPages} empty pages of ${base} in a row: the directory does not come to an end. Nothing is taken as complete.`,
        );
      }
      yield { entries, last: cookie.length === 0 };
      if (cookie.length === 0) return;
      paging.value = { size: options.pageSize ?? 1000, cookie };
    }
  }

  /** One entry, by its DN or by `<GUID=…>`; undefined when there is none that the account can see. */
  async read(
    dn: string,
    attributes: readonly string[],
    options: ReadOptions = {},
  ): Promise<LdapEntry | undefined> {
    try {
      const entry = await this.#readOne(dn, attributes.length === 0 ? ["1.1"] : attributes, options.controls);
      return entry && (await this.#completeRanges(entry, options.controls));
    } catch (error) {
      if (error instanceof LdapError && error.code === resultCode.noSuchObject) return undefined;
      throw error;
    }
  }

  /**
   * What has changed in a naming context since `cookie` (empty: since ever): of each object the changed ones of
   * `attributes`, deleted objects among them. @throws LdapError, 50 without the right to replicate; ConnectorError
   */
  async dirSync(namingContext: string, options: DirSyncOptions): Promise<DirSyncAnswer> {
    const entries: LdapEntry[] = [];
    const result = await this.#ask(
      new SearchRequest({
        messageId: 0,
        baseDN: namingContext,
        scope: "sub",
        filter: options.filter,
        attributes: [...options.attributes],
        timeLimit: 0,
        controls: [new DirSyncControl(options.cookie), domainScope],
      }),
      (entry) => entries.push(entry),
    );
    const value = result.controls.get(dirSyncType);
    if (value === undefined) throw new ConnectorError("unreachable", "The answer to DirSync has no cookie.");
    return { entries, ...understood(() => dirSyncState(value)) };
  }

  /** @param attributes values as the directory keeps them. @throws LdapError, ConnectorError */
  async add(dn: string, attributes: readonly RawAttribute[]): Promise<void> {
    await this.#ask(new AddRequest({ messageId: 0, dn, attributes: attributes.map(toAttribute) }));
  }

  /** All changes or none. @throws LdapError, ConnectorError */
  async modify(dn: string, changes: readonly RawChange[]): Promise<void> {
    const toChange = ({ operation, ...attribute }: RawChange) =>
      new Change({ operation, modification: toAttribute(attribute) });
    await this.#ask(new ModifyRequest({ messageId: 0, dn, changes: changes.map(toChange) }));
  }

  /** Renames and moves. `newRdn` is escaped text. @throws LdapError, ConnectorError */
  async modifyDn(dn: string, newRdn: string, newSuperior: string): Promise<void> {
    await this.#ask(new ModifyDNRequest({ messageId: 0, dn, newRdn, newSuperior }));
  }

  /** @throws LdapError, ConnectorError */
  async delete(dn: string): Promise<void> {
    await this.#ask(new DeleteRequest({ messageId: 0, dn }));
  }

  async close(): Promise<void> {
    const connection = this.#connection;
    this.#connection = undefined;
    try {
      (await connection)?.close(new UnbindRequest({ messageId: 0 }));
    } catch {
      // It never came to be, and who asked for it has been told: there is nothing to close.
    }
  }

  /** @throws ConnectorError "unreachable", "access-denied" */
  async #connect(): Promise<LdapConnection> {
    for (;;) {
      this.#connection ??= this.#openAndBind();
      const attempt = this.#connection;
      try {
        const connection = await attempt;
        if (connection.usable) return connection;
      } catch (error) {
        if (this.#connection === attempt) this.#connection = undefined;
        throw error;
      }
      if (this.#connection === attempt) this.#connection = undefined;
    }
  }

  async #openAndBind(): Promise<LdapConnection> {
    const connection = await LdapConnection.open(this.#target);
    const request = new BindRequest({ messageId: 0, dn: this.#bindDn, password: this.#bindPassword });
    const result = await connection.request(request, this.#operationTimeoutMs);
    if (result.code === resultCode.success) return connection;
    connection.close(new UnbindRequest({ messageId: 0 }));
    throw bindFailure(result, this.#target.url);
  }

  async #ask(request: LdapRequest, take?: TakeEntry, bound?: LdapConnection): Promise<LdapResult> {
    const connection = bound ?? (await this.#connect());
    const result = await connection.request(request, this.#operationTimeoutMs, take);
    if (result.code === resultCode.success) return result;
    if (result.code === resultCode.operationsError) connection.close(new UnbindRequest({ messageId: 0 }));
    throw directoryFailure(result) ?? new LdapError(result);
  }

  async #readOne(
    dn: string,
    attributes: readonly string[],
    controls: readonly Control[] = [],
  ): Promise<LdapEntry | undefined> {
    let found: LdapEntry | undefined;
    await this.#ask(
      new SearchRequest({
        messageId: 0,
        baseDN: dn,
        scope: "base",
        filter: present("objectClass"),
        attributes: [...attributes],
        timeLimit: 0,
        controls: [...controls],
      }),
      (entry) => {
        found ??= entry;
      },
    );
    return found;
  }

  /**
   * Active Directory returns at most 1,500 values of an attribute, named `member;range=0-1499`; the rest is asked
   * for range by range. [MS-ADTS] 3.1.1.3.1.3.3
   */
  async #completeRanges(entry: LdapEntry, controls: readonly Control[] = []): Promise<LdapEntry> {
    if (!isIncomplete(entry)) return entry;
    const attributes = new Map<string, readonly Buffer[]>();
    for (const [key, firstValues] of entry.attributes) {
      const values = [...firstValues];
      let [name, range] = key.split(";range=");
      while (range !== undefined && !range.endsWith("-*")) {
        const from = Number(range.split("-")[1]) + 1;
        const next = `${name};range=${from}-*`;
        const rest = await this.#readOne(entry.dn, [next], controls);
        const found = [...(rest?.attributes ?? [])].find(([type]) => type.startsWith(`${name};range=`));
        const [, foundRange = ""] = found?.[0].split(";range=") ?? [];
        // What begins elsewhere would make a list with holes or doubles, or one without an end.
        if (found === undefined || foundRange.split("-")[0] !== String(from)) throw rangeLost(next);
        values.push(...found[1]);
        range = foundRange;
      }
      // With a range, the plain name comes too, empty.
      if (range !== undefined || !attributes.has(key)) attributes.set(name!, values);
    }
    return { dn: entry.dn, attributes };
  }
}

export interface AdClientOptions {
  readonly target: ConnectionTarget;
  readonly bindDn: string;
  readonly bindPassword: string;
  /** The longest silence after a request. */
  readonly operationTimeoutMs: number;
}

export interface SearchOptions {
  readonly scope?: "base" | "one" | "sub";
  readonly filter?: Filter;
  readonly attributes: readonly string[];
  readonly controls?: readonly Control[];
  readonly pageSize?: number;
}

export interface ReadOptions {
  readonly controls?: readonly Control[];
}

export interface SearchPage<Item = LdapEntry> {
  readonly entries: readonly Item[];
  readonly last: boolean;
}

export interface DirSyncOptions {
  readonly filter: Filter;
  readonly attributes: readonly string[];
  readonly cookie: Buffer;
}

export interface DirSyncAnswer {
  /** With `objectGUID` always. A cleared attribute has no value. */
  readonly entries: readonly LdapEntry[];
  readonly cookie: Buffer;
  /** To be asked again with the new cookie. */
  readonly more: boolean;
}

export interface RawAttribute {
  readonly name: string;
  readonly values: readonly Buffer[];
}

export interface RawChange extends RawAttribute {
  readonly operation: "add" | "delete" | "replace";
}

const toAttribute = ({ name, values }: RawAttribute) => new Attribute({ type: name, values: [...values] });

/** A domain controller may answer a page without entries when a search takes it long; not so often in a row. */
const emptyPagesMax = 1000;

/** @throws ConnectorError for a control whose value is not what it should be */
function understood<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof LdapProtocolError)) throw error;
    throw new ConnectorError("unreachable", `The answer is not LDAP (${error.message}).`, { cause: error });
  }
}

function isIncomplete({ attributes }: LdapEntry): boolean {
  for (const name of attributes.keys()) if (name.includes(";range=")) return true;
  return false;
}

/** Without the object's DN: what stops a step is told to the telemetry too, which holds nobody's name. */
function rangeLost(range: string): ConnectorError {
  return new ConnectorError("unreachable", `An object changed while it was read (${range} is gone).`);
}

// ---- filters ---------------------------------------------------------------------------------------------------

export type { Filter } from "ldapts";
export const present = (attribute: string): Filter => new PresenceFilter({ attribute });
export const equals = (attribute: string, value: string | Buffer): Filter =>
  new EqualityFilter({ attribute, value });
export const atLeast = (attribute: string, value: bigint): Filter =>
  new GreaterThanEqualsFilter({ attribute, value: String(value) });
export const atMost = (attribute: string, value: bigint): Filter =>
  new LessThanEqualsFilter({ attribute, value: String(value) });
export const all = (...filters: Filter[]): Filter => new AndFilter({ filters });
export const any = (...filters: Filter[]): Filter => new OrFilter({ filters });
export const not = (filter: Filter): Filter => new NotFilter({ filter });

// ---- controls --------------------------------------------------------------------------------------------------

class PlainControl extends Control {
  protected override writeControl(_writer: BerWriter): void {
    // These controls have no value.
  }
}

/**
 * Deleted objects are shown too, with those that somebody has removed from the recycle bin as well: a deletion is seen
 * though it was made final before the next import. An old domain controller does not know the second control.
 * [MS-ADTS] 3.1.1.3.4.1, LDAP_SERVER_SHOW_DELETED_OID and LDAP_SERVER_SHOW_RECYCLED_OID
 */
export const showDeleted: readonly Control[] = [
  new PlainControl("1.2.840.113556.1.4.417", { critical: true }),
  new PlainControl("1.2.840.113556.1.4.2064", { critical: false }),
];
/** No referrals to other naming contexts. [MS-ADTS] 3.1.1.3.4.1.2 */
export const domainScope: Control = new PlainControl("1.2.840.113556.1.4.1339", { critical: false });

const discretionaryList = 4;

/** nTSecurityDescriptor without what only an administrator may read. [MS-ADTS] 3.1.1.3.4.1.11 */
class SecurityDescriptorControl extends Control {
  constructor() {
    super("1.2.840.113556.1.4.801", { critical: false });
  }

  protected override writeControl(writer: BerWriter): void {
    const value = new BerWriter();
    value.startSequence();
    value.writeInt(discretionaryList);
    value.endSequence();
    writer.writeBuffer(value.buffer, Ber.OctetString);
  }
}

export const withPermissions: Control = new SecurityDescriptorControl();

const dirSyncType = "1.2.840.113556.1.4.841";
/** After so much a domain controller ends an answer; it may give more or less. */
const dirSyncBytes = 1024 * 1024;

/** [MS-ADTS] 3.1.1.3.4.1.3 */
class DirSyncControl extends Control {
  readonly #cookie: Buffer;

  constructor(cookie: Buffer) {
    super(dirSyncType, { critical: true });
    this.#cookie = cookie;
  }

  protected override writeControl(writer: BerWriter): void {
    const value = new BerWriter();
    value.startSequence();
    value.writeInt(0); // flags: the account's right to replicate decides what is seen
    value.writeInt(dirSyncBytes);
    value.writeBuffer(this.#cookie, Ber.OctetString);
    value.endSequence();
    writer.writeBuffer(value.buffer, Ber.OctetString);
  }
}
