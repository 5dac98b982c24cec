/** LDAP as it comes over the wire, for tests about a directory and not about our connector. */
import {
  Attribute,
  type BerReader,
  type BerWriter,
  Change,
  Client,
  Control,
  FilterParser,
  PagedResultsControl,
  SearchRequest,
  type SearchResponse,
} from "ldapts";

export const oid = {
  showDeleted: "1.2.840.113556.1.4.417",
  dirSync: "1.2.840.113556.1.4.841",
  extendedDn: "1.2.840.113556.1.4.529",
  domainScope: "1.2.840.113556.1.4.1339",
  permissiveModify: "1.2.840.113556.1.4.1413",
  treeDelete: "1.2.840.113556.1.4.805",
} as const;

/** A control without a value, or with the BER of one. */
export class PlainControl extends Control {
  readonly #value: Buffer | undefined;
  constructor(type: string, value?: Buffer) {
    super(type, { critical: true });
    this.#value = value;
  }
  override writeControl(writer: BerWriter): void {
    if (this.#value !== undefined) writer.writeBuffer(this.#value, 0x04);
  }
}

/** Keeps the cookie from one search to the next. */
export class DirSyncControl extends Control {
  cookie: Buffer = Buffer.alloc(0);
  more = true;
  readonly #flags: number;
  constructor(flags = 1) {
    super(oid.dirSync, { critical: true });
    this.#flags = flags;
  }
  override writeControl(writer: BerWriter): void {
    const length = this.cookie.length;
    const integers = Buffer.from([0x02, 1, this.#flags, 0x02, 4, 0x7f, 0xff, 0xff, 0xff]);
    const header = Buffer.from([0x30, 0x81, integers.length + 3 + length]);
    const octets = Buffer.from([0x04, 0x81, length]);
    writer.writeBuffer(Buffer.concat([header, integers, octets, this.cookie]), 0x04);
  }
  override parseControl(reader: BerReader): void {
    reader.readSequence();
    this.more = reader.readInt() !== 0;
    reader.readInt();
    this.cookie = Buffer.from(reader.readString(0x04, true) ?? Buffer.alloc(0));
  }
}

export interface RawEntry {
  readonly dn: string;
  /** Only what the server sent; no values means that it sent none. */
  readonly attributes: Readonly<Record<string, readonly Buffer[]>>;
}

export interface RawResult {
  readonly code: number;
  readonly entries: readonly RawEntry[];
  readonly references: readonly string[];
  /** Of a paged search. */
  readonly cookie: Buffer;
}

export interface RawSearch {
  readonly scope?: "base" | "one" | "sub";
  readonly filter?: string;
  readonly attributes?: string[];
  readonly sizeLimit?: number;
  readonly page?: { readonly size: number; readonly cookie?: Buffer };
  readonly controls?: Control[];
}

/** What the public search of ldapts hides: the result code, controls of the answer, attributes without values. */
interface ClientInternals {
  _nextMessageId(): number;
  _send(request: SearchRequest): Promise<SearchResponse>;
}

export async function search(client: Client, base: string, options: RawSearch = {}): Promise<RawResult> {
  const internals = client as unknown as ClientInternals;
  const controls = [...(options.controls ?? [])];
  if (options.page !== undefined) {
    const { size, cookie } = options.page;
    controls.push(new PagedResultsControl({ critical: true, value: { size, ...(cookie && { cookie }) } }));
  }
  const response = await internals._send(
    new SearchRequest({
      messageId: internals._nextMessageId(),
      baseDN: base,
      scope: options.scope ?? "sub",
      filter: FilterParser.parseString(options.filter ?? "(objectClass=*)"),
      attributes: options.attributes ?? [],
      sizeLimit: options.sizeLimit ?? 0,
      timeLimit: 0,
      controls,
    }),
  );
  const paged = response.controls?.find((control) => control instanceof PagedResultsControl);
  return {
    code: response.status,
    entries: (response.searchEntries ?? []).map((entry) => ({
      dn: entry.name,
      attributes: Object.fromEntries(
        entry.attributes.map(({ type, parsedBuffers }) => [type, parsedBuffers]),
      ),
    })),
    references: (response.searchReferences ?? []).flatMap(({ uris }) => uris),
    cookie: paged?.value?.cookie ?? Buffer.alloc(0),
  };
}

/** The values of one object's attribute as text. */
export async function read(client: Client, dn: string, attribute: string): Promise<string[]> {
  const { entries } = await search(client, dn, { scope: "base", attributes: [attribute] });
  return (entries[0]?.attributes[attribute] ?? []).map((value) => value.toString());
}

export function change(
  operation: "add" | "delete" | "replace",
  type: string,
  ...values: (string | Buffer)[]
) {
  return new Change({
    operation,
    modification: new Attribute({ type, values: values as string[] }),
  });
}

/** A password as unicodePwd takes it. */
export function quoted(password: string): Buffer {
  return Buffer.from(`"${password}"`, "utf16le");
}

/** The result code of an operation: 0, or that of its error. */
export async function codeOf(operation: Promise<unknown>): Promise<number> {
  try {
    await operation;
    return 0;
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (typeof code === "number") return code;
    throw error;
  }
}

export async function connect(
  server: { readonly url: string; readonly ca: string; readonly serverName: string },
  name: string,
  password: string,
): Promise<Client> {
  const client = new Client({
    url: server.url,
    tlsOptions: { ca: server.ca, servername: server.serverName },
    timeout: 30_000,
  });
  await client.bind(name, password);
  return client;
}
