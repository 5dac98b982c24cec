import type { TlsOptions } from "node:tls";
import { afterEach, expect, test } from "vitest";
import { AdClient, equals } from "../../src/engine/connectors/ad/adClient.ts";
import type { LdapEntry } from "../../src/engine/connectors/ad/ldapMessages.ts";
import { adSettingsSchema, connectionTarget } from "../../src/engine/connectors/ad/settings.ts";
import type { ConnectorErrorKind } from "../../src/engine/ports/connector.ts";
import {
  entry,
  type FakeLdap,
  type FakeRequest,
  fakeLdap,
  noticeOfDisconnection,
  result,
  validOnly,
} from "../support/fakeLdap.ts";

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.close();
});

const [bind, search] = [0x60, 0x63];

async function open(
  answer: (request: FakeRequest) => Buffer | null | undefined,
  options: { readonly timeoutMs?: number; readonly tls?: TlsOptions } = {},
): Promise<{ client: AdClient; server: FakeLdap }> {
  const server = await fakeLdap(answer, options.tls);
  const settings = adSettingsSchema.parse({
    url: server.url,
    caCertificate: server.ca,
    bindDn: "CN=svc,DC=x",
    bindPassword: "S3cret-of-the-test",
    baseDn: "DC=x",
    containers: ["OU=b,DC=x"],
  });
  const client = new AdClient({
    target: connectionTarget(settings),
    bindDn: settings.bindDn,
    bindPassword: settings.bindPassword,
    operationTimeoutMs: options.timeoutMs ?? 2000,
  });
  opened.push(server, client);
  return { client, server };
}

async function listed(client: AdClient): Promise<string[]> {
  const found: string[] = [];
  for await (const { entries } of client.search("DC=x", { attributes: ["cn"], pageSize: 20 })) {
    found.push(...entries.map(({ dn }) => dn));
  }
  return found;
}

const failure = (kind: ConnectorErrorKind, message: RegExp) =>
  expect.objectContaining({ name: "ConnectorError", kind, message: expect.stringMatching(message) });

const people = (request: FakeRequest, ...names: string[]) =>
  Buffer.concat(names.map((name) => entry(request, `CN=${name}`, { cn: [name] })));

test("many first calls share one connection and one bind", async () => {
  const { client, server } = await open((request) =>
    request.operation === search
      ? Buffer.concat([people(request, "a"), result(request, { cookie: "" })])
      : undefined,
  );
  const found = await Promise.all(Array.from({ length: 16 }, () => client.read("CN=a", ["cn"])));
  expect(found.map((one) => one?.dn)).toEqual(Array.from({ length: 16 }, () => "CN=a"));
  expect(server.requests.filter(({ operation }) => operation === bind)).toHaveLength(1);
  expect(new Set(server.requests.map(({ connection }) => connection))).toEqual(new Set([1]));
});

test("after a lost connection the next call connects and binds anew, once for all callers", async () => {
  const { client, server } = await open((request) => {
    if (request.operation !== search) return undefined;
    if (request.connection === 1) {
      request.socket.destroy();
      return null;
    }
    return Buffer.concat([people(request, "a"), result(request, { cookie: "" })]);
  });
  await expect(client.read("CN=a", ["cn"])).rejects.toEqual(failure("unreachable", /AD_URL/));
  await Promise.all([client.read("CN=a", []), client.read("CN=a", []), client.read("CN=a", [])]);
  const operations = server.requests.filter(({ connection }) => connection === 2);
  expect(operations.map(({ operation }) => operation)).toEqual([bind, search, search, search]);
});

test("an empty page with a cookie does not end paging", async () => {
  const pages: Record<string, readonly [readonly string[], string]> = {
    "": [["a", "b"], "cookie-1"],
    "cookie-1": [[], "cookie-2"],
    "cookie-2": [["c"], ""],
  };
  const { client } = await open((request) => {
    if (request.operation !== search) return undefined;
    const [names, cookie] = pages[request.cookie]!;
    return Buffer.concat([people(request, ...names), result(request, { cookie })]);
  });
  expect(await listed(client)).toEqual(["CN=a", "CN=b", "CN=c"]);
});

test.each([
  [4, "sizeLimitExceeded"],
  [11, "adminLimitExceeded"],
  [10, "referral"],
])("result %i in the middle of paging is an error, never a short list", async (code, name) => {
  const { client } = await open((request) => {
    if (request.operation !== search) return undefined;
    if (request.cookie === "") {
      return Buffer.concat([people(request, "a"), result(request, { cookie: "cookie-1" })]);
    }
    const given = { code, message: "cut", matchedDn: "DC=y", referrals: ["ldaps://other/DC=y"] };
    return Buffer.concat([people(request, "b"), result(request, given)]);
  });
  await expect(listed(client)).rejects.toMatchObject({
    name: "LdapError",
    code,
    serverMessage: "cut",
    matchedDn: "DC=y",
    referrals: ["ldaps://other/DC=y"],
    message: expect.stringContaining(name),
  });
});

test("an entry holds what the server sent: absent is absent, empty is empty, bytes are bytes", async () => {
  const bytes = Buffer.from([0x41, 0xff, 0x00]);
  const { client } = await open((request) =>
    request.operation === search
      ? Buffer.concat([
          entry(request, "CN=a", { Photo: [bytes, Buffer.from("text")], manager: [] }),
          result(request),
        ])
      : undefined,
  );
  const found = await client.read("CN=a", ["photo", "manager", "mail"]);
  expect([...found!.attributes.keys()]).toEqual(["photo", "manager"]);
  expect(found!.attributes.get("photo")).toEqual([bytes, Buffer.from("text")]);
  expect(found!.attributes.get("manager")).toEqual([]);
});

test("binary filter values are sent as they are, and without a time limit", async () => {
  const { client, server } = await open(() => undefined);
  const guid = Buffer.from("00ff80c3a9415c2a2829fe7f10203040", "hex");
  for await (const _page of client.search("DC=x", {
    filter: equals("objectGUID", guid),
    attributes: ["cn"],
  }));
  const { bytes } = server.requests.find(({ operation }) => operation === search)!;
  expect(bytes.includes(guid)).toBe(true);
  // neverDerefAliases, sizeLimit 0, timeLimit 0, typesOnly false
  expect(bytes.includes(Buffer.from("0a0100020100020100010100", "hex"))).toBe(true);
});

test("values beyond the server's range limit are fetched range by range", async () => {
  const values = Array.from({ length: 7 }, (_, index) => `CN=${index}`);
  const { client } = await open((request) => {
    if (request.operation !== search) return undefined;
    const asked = /member;range=(\d+)-\*/.exec(request.bytes.toString("latin1"));
    const low = Number(asked?.[1] ?? 0);
    const high = Math.min(low + 2, 6);
    const name = `member;range=${low}-${high === 6 ? "*" : high}`;
    const attributes = { ...(low === 0 ? { member: [] } : {}), [name]: values.slice(low, high + 1) };
    return Buffer.concat([entry(request, "CN=g", attributes), result(request)]);
  });
  const group = await client.read("CN=g", ["member"]);
  expect([...group!.attributes.keys()]).toEqual(["member"]);
  expect(group!.attributes.get("member")!.map(String)).toEqual(values);
});

test("a range that begins elsewhere than asked is not used", async () => {
  const { client } = await open((request) => {
    if (request.operation !== search) return undefined;
    return Buffer.concat([entry(request, "CN=g", { "member;range=0-1": ["CN=a", "CN=b"] }), result(request)]);
  });
  await expect(client.read("CN=g", ["member"])).rejects.toEqual(
    failure("unreachable", /^An object changed while it was read .*range=2-\* is gone/),
  );
});

test("pages without an entry and without an end are found out", async () => {
  const { client } = await open((request) =>
    request.operation === search ? result(request, { cookie: "cookie-again" }) : undefined,
  );
  await expect(listed(client)).rejects.toEqual(failure("unreachable", /does not come to an end/));
});

test("a listing makes its items as entries arrive, and of whole entries only", async () => {
  const { client } = await open((request) => {
    if (request.operation !== search) return undefined;
    const isRest = request.bytes.includes("member;range=2-*");
    const group = isRest
      ? entry(request, "CN=g", { "member;range=2-*": ["CN=2"] })
      : entry(request, "CN=g", { member: [], "member;range=0-1": ["CN=0", "CN=1"] });
    return Buffer.concat([group, isRest ? Buffer.alloc(0) : people(request, "a"), result(request)]);
  });
  const seen: [string, number][] = [];
  const toItem = ({ dn, attributes }: LdapEntry): [string, number] => [
    dn,
    attributes.get("member")?.length ?? 0,
  ];
  for await (const { entries } of client.list("DC=x", { attributes: ["member"] }, toItem))
    seen.push(...entries);
  expect(seen.sort()).toEqual([
    ["CN=a", 0],
    ["CN=g", 3],
  ]);
});

test("what an entry cannot be made of fails its own search, and no other request on the connection", async () => {
  const { client, server } = await open((request) =>
    request.operation === search ? Buffer.concat([people(request, "a", "b"), result(request)]) : undefined,
  );
  const toItem = () => {
    throw new RangeError("not to be understood");
  };
  const [refused, other] = await Promise.allSettled([
    client.list("DC=x", { attributes: ["cn"] }, toItem).next(),
    client.read("CN=a", ["cn"]),
  ]);
  expect(refused).toMatchObject({ status: "rejected", reason: { name: "RangeError" } });
  expect(other).toMatchObject({ status: "fulfilled", value: { dn: "CN=a" } });
  expect((await client.read("CN=a", []))?.dn).toBe("CN=a");
  expect(new Set(server.requests.map(({ connection }) => connection))).toEqual(new Set([1]));
});

test("a connection that has lost its logon is thrown away, and the next call logs on anew", async () => {
  const { client, server } = await open((request) => {
    if (request.operation === bind || request.operation === 0x42) return undefined;
    const lost = {
      code: 1,
      message: "000004DC: In order to perform this operation a bind must be completed",
    };
    if (request.connection === 1) return result(request, lost);
    return Buffer.concat([people(request, "a"), result(request)]);
  });
  await expect(client.modify("CN=a", [])).rejects.toEqual(failure("unreachable", /does not know this conn/));
  expect((await client.read("CN=a", []))?.dn).toBe("CN=a");
  const binds = server.requests.filter(({ operation }) => operation === bind);
  expect(binds.map(({ connection }) => connection)).toEqual([1, 2]);
});

test("a server that falls silent ends the connection, and the next call has a new one", async () => {
  const { client } = await open(
    (request) => {
      if (request.operation !== search) return undefined;
      return request.connection === 1 ? null : Buffer.concat([people(request, "a"), result(request)]);
    },
    { timeoutMs: 100 },
  );
  const both = await Promise.allSettled([client.read("CN=a", []), client.read("CN=b", [])]);
  for (const one of both) {
    expect(one).toMatchObject({ reason: failure("unreachable", /AD_URL.*no answer within 0.1 s/) });
  }
  expect((await client.read("CN=a", []))?.dn).toBe("CN=a");
});

test("a slow page that keeps coming is waited for", async () => {
  const { client } = await open(
    (request) => {
      if (request.operation !== search) return undefined;
      ["a", "b", "c", "d"].forEach((name, index) => {
        setTimeout(() => request.socket.write(people(request, name)), 80 * index);
      });
      setTimeout(() => request.socket.write(result(request)), 320);
      return null;
    },
    { timeoutMs: 200 },
  );
  expect(await listed(client)).toHaveLength(4);
});

test.each([
  ["a message id of no octets", "300b020065070a010004000400"],
  ["a message id of seven", "301202070000000000000065070a010004000400"],
  ["a result code of no octets", "300b02010265060a0004000400"],
  ["a result code of nine", "3014020102650f0a0900000000000000000004000400"],
])("%s ends the connection, and no process", async (_, bytes) => {
  const { client } = await open(({ operation }) =>
    operation === search ? Buffer.from(bytes, "hex") : undefined,
  );
  await expect(client.read("CN=a", [])).rejects.toEqual(failure("unreachable", /not LDAP/));
});

test("bytes that are not LDAP end the connection at once", async () => {
  const { client } = await open((request) =>
    request.operation === search ? Buffer.from("HTTP/1.1 400\r\n") : undefined,
  );
  await expect(client.read("CN=a", [])).rejects.toEqual(failure("unreachable", /not LDAP/));
});

test.each([
  [52, "unreachable"],
  [51, "throttled"],
] as const)("a notice of disconnection (%i) is told in the server's words", async (code, kind) => {
  const { client } = await open((request) => {
    if (request.operation !== search) return undefined;
    return noticeOfDisconnection({ code, message: "The server is shutting down" });
  });
  await expect(client.read("CN=a", [])).rejects.toEqual(failure(kind, /shutting down/));
});

test.each([
  ["data 52e, v1db1", /AD_BIND_DN and AD_BIND_PASSWORD/],
  ["data 532, v1db1", /expired/],
  ["data 533, v1db1", /disabled/],
  ["data 773, v1db1", /must be changed/],
  ["data 775, v1db1", /locked/],
])("a refused bind (%s) says what to do, without the password", async (said, remedy) => {
  const { client } = await open((request) =>
    request.operation === bind
      ? result(request, { code: 49, message: `80090308: LdapErr: ${said}` })
      : undefined,
  );
  const error = await client.read("CN=a", []).catch((reason: unknown) => reason);
  expect(error).toEqual(failure("access-denied", remedy));
  expect(JSON.stringify([error, String(error)])).not.toContain("S3cret");
});

test.each([
  [8, "configuration", /ldaps/],
  [51, "throttled", /busy/],
  [52, "unreachable", /cannot answer/],
] as const)(
  "result %i of a write is about the directory, not about the object",
  async (code, kind, message) => {
    const { client } = await open((request) =>
      request.operation === 0x4a ? result(request, { code }) : undefined,
    );
    await expect(client.delete("CN=a")).rejects.toEqual(failure(kind, message));
  },
);

test("a connection that has lost its bind is thrown away", async () => {
  const { client, server } = await open((request) => {
    if (request.operation !== search) return undefined;
    if (request.connection > 1) return Buffer.concat([people(request, "a"), result(request)]);
    return result(request, { code: 1, message: "000004DC: LdapErr: a successful bind must be completed" });
  });
  await expect(client.read("CN=a", [])).rejects.toEqual(
    failure("unreachable", /does not know this connection/),
  );
  expect((await client.read("CN=a", []))?.dn).toBe("CN=a");
  expect(server.requests.filter(({ operation }) => operation === bind)).toHaveLength(2);
});

test("an empty password is refused before it can bind as nobody", () => {
  const target = { url: "ldaps://localhost", tls: {}, connectTimeoutMs: 1 };
  const make = (bindDn: string, bindPassword: string) => () =>
    new AdClient({ target, bindDn, bindPassword, operationTimeoutMs: 1 });
  expect(make("CN=svc", "")).toThrow(/AD_BIND_PASSWORD/);
  expect(make("", "x")).toThrow(/AD_BIND_DN/);
});

test("a server that offers nothing newer than TLS 1.1 is refused", async () => {
  const tls: TlsOptions = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT:@SECLEVEL=0" };
  const { client } = await open(() => undefined, { tls });
  await expect(client.read("CN=a", [])).rejects.toEqual(failure("unreachable", /TLS 1.2/));
});

test.each([
  ["has expired", { fromDay: -30, toDay: -1 }, /has expired.*Renew/],
  ["is not valid yet", { fromDay: 1, toDay: 30 }, /not valid yet.*clocks/],
])("a server whose certificate %s is told nothing, not even the password", async (_, validity, message) => {
  const { client, server } = await open(() => undefined, { tls: await validOnly(validity) });
  await expect(client.read("CN=a", [])).rejects.toEqual(failure("unreachable", message));
  expect(server.requests).toEqual([]);
});

test("names with a backslash at the end keep it: RDN and superior are sent apart", async () => {
  const { client, server } = await open(() => undefined);
  await client.modifyDn("<GUID=1>", "CN=a\\\\", "OU=b,DC=x");
  const { bytes } = server.requests.find(({ operation }) => operation === 0x6c)!;
  const sent = Buffer.from("\u0004\u0006CN=a\\\\\u0001\u0001\u00ff\u0080\u0009OU=b,DC=x", "latin1");
  expect(bytes.subarray(-sent.length)).toEqual(sent);
});
