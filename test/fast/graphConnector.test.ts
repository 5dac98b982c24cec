import { Client, ResponseType } from "@microsoft/microsoft-graph-client";
import { describe, expect, test } from "vitest";
import { GraphConnector } from "../../src/engine/connectors/graph/connector.ts";
import {
  advanceGuard,
  newLoopGuard,
  parseCursor,
  parseWatermark,
  printCursor,
  printWatermark,
} from "../../src/engine/connectors/graph/cursor.ts";
import {
  answerFailure,
  connectionFailure,
  retryAfterMs,
} from "../../src/engine/connectors/graph/failures.ts";
import { parseGroupFilter, parseUserFilter } from "../../src/engine/connectors/graph/filter.ts";
import { objectTypesOf } from "../../src/engine/connectors/graph/objectTypes.ts";
import type { RetryPolicy, TokenSource } from "../../src/engine/connectors/graph/pipeline.ts";
import {
  Call,
  OutcomeHandler,
  RetryHandler,
  TokenHandler,
} from "../../src/engine/connectors/graph/pipeline.ts";
import { graphSettingsSchema } from "../../src/engine/connectors/graph/settings.ts";
import { credentialOf } from "../../src/engine/connectors/graph/token.ts";
import { attributesToJson, dateTimeFromMs } from "../../src/engine/core/values.ts";
import type { ConnectorContext, ConnectorDefinition } from "../../src/engine/ports/connector.ts";
import { ConnectorError } from "../../src/engine/ports/connector.ts";

function definition(...attributes: string[]): ConnectorDefinition {
  return { name: "AADMA", objectTypes: [{ name: "user", attributes }] };
}

const unfiltered = { filter: "all", groupFilter: "all" };
const selectUserAttributes = (connector: ConnectorDefinition) =>
  objectTypesOf(connector, unfiltered)[0]!.attributes;

function configurationError(message: RegExp) {
  return expect.objectContaining({ kind: "configuration", message: expect.stringMatching(message) });
}

function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error("Nothing was thrown.");
}

describe("filter", () => {
  test("guests are told from members and from accounts without a type", () => {
    const filter = parseUserFilter("userType eq 'Guest'");
    expect(filter.odata).toBe("userType eq 'Guest'");
    expect(filter.properties).toEqual(["userType"]);
    expect(filter.matches({ userType: "Guest" })).toBe(true);
    expect(filter.matches({ userType: "Member" })).toBe(false);
    expect(filter.matches({ userType: null })).toBe(false);
    expect(filter.matches({})).toBe(false);
  });

  test("every part of a conjunction must hold, in any order and spacing", () => {
    const filter = parseUserFilter(" userType  eq 'Member' and accountEnabled eq true ");
    expect(filter.odata).toBe("accountEnabled eq true and userType eq 'Member'");
    expect(filter.properties).toEqual(["accountEnabled", "userType"]);
    expect(filter.matches({ userType: "Member", accountEnabled: true })).toBe(true);
    expect(filter.matches({ userType: "Member", accountEnabled: false })).toBe(false);
    expect(filter.matches({ userType: "Member" })).toBe(false);
    expect(filter.mayMatch({ userType: "Member" })).toBe(true);
    expect(filter.mayMatch({ userType: "Guest" })).toBe(false);
  });

  test("a connector without a filter has everybody", () => {
    const filter = parseUserFilter("all");
    expect(filter).toMatchObject({ odata: "", properties: [] });
    expect(filter.matches({})).toBe(true);
  });

  test.each([
    "",
    "userType ne 'Member'",
    "userType eq 'Guest' or accountEnabled eq true",
    "startswith(mail,'a')",
    "userType eq 'Guest' and",
    "all and userType eq 'Guest'",
  ])("a filter that a delta import cannot decide is refused: %s", (text) => {
    expect(thrownBy(() => parseUserFilter(text))).toEqual(configurationError(/userType eq 'Guest'/));
  });
});

describe("attributes", () => {
  test("JSON becomes values by the property's type; null and empty are absent, blanks stay", () => {
    const { schema, properties, attributesOf } = selectUserAttributes(
      definition(
        "accountEnabled",
        "createdDateTime",
        "displayName",
        "givenName",
        "mail",
        "otherMails",
        "proxyAddresses",
        "onPremisesExtensionAttributes.extensionAttribute1",
        "onPremisesExtensionAttributes.extensionAttribute15",
        "extension_0123456789abcdef0123456789abcdef_badge",
      ),
    );
    expect(properties).toEqual([
      "accountEnabled",
      "createdDateTime",
      "displayName",
      "extension_0123456789abcdef0123456789abcdef_badge",
      "givenName",
      "id",
      "mail",
      "onPremisesExtensionAttributes",
      "otherMails",
      "proxyAddresses",
    ]);
    const attributes = attributesOf({
      id: "1",
      accountEnabled: false,
      createdDateTime: "2024-05-06T07:08:09.1234567Z",
      displayName: " Jean  Dupont ",
      givenName: "",
      mail: null,
      otherMails: ["a@b.example"],
      proxyAddresses: [],
      onPremisesExtensionAttributes: { extensionAttribute1: "x", extensionAttribute15: null },
      extension_0123456789abcdef0123456789abcdef_badge: 17,
      userType: "Guest",
    });
    expect(attributesToJson(attributes)).toEqual({
      accountEnabled: false,
      createdDateTime: { $dt: "2024-05-06T07:08:09.1234567Z" },
      displayName: " Jean  Dupont ",
      otherMails: ["a@b.example"],
      "onPremisesExtensionAttributes.extensionAttribute1": "x",
      extension_0123456789abcdef0123456789abcdef_badge: "17",
    });
    expect(schema.attributes.get("otherMails")).toEqual({
      name: "otherMails",
      type: "string",
      multiValued: true,
    });
    expect(schema.attributes.get("createdDateTime")).toMatchObject({ type: "dateTime", readOnly: true });
  });

  test("identities are texts that a rule can take apart", () => {
    const { attributesOf } = selectUserAttributes(definition("identities"));
    const identities = [{ signInType: "federated", issuer: "ExternalAzureAD", issuerAssignedId: null }];
    expect(attributesOf({ identities })).toEqual({ identities: ["federated|ExternalAzureAD|"] });
  });

  test("changes become the body of a request; parts of a structure are one property, no value clears", () => {
    const part = (number: number) => `onPremisesExtensionAttributes.extensionAttribute${number}`;
    const { bodyOf } = selectUserAttributes(
      definition("department", "employeeHireDate", "otherMails", part(1), part(2)),
    );
    expect(
      bodyOf([
        { name: "department" },
        { name: "otherMails" },
        { name: "employeeHireDate", after: dateTimeFromMs(Date.UTC(2026, 0, 31)) },
        { name: part(1), after: "a" },
        { name: part(2) },
      ]),
    ).toEqual({
      department: null,
      otherMails: [],
      employeeHireDate: "2026-01-31T00:00:00.000Z",
      onPremisesExtensionAttributes: { extensionAttribute1: "a", extensionAttribute2: null },
    });
    expect(() => bodyOf([{ name: "department", after: 7n }])).toThrow(/department is of type string/);
  });

  test("a value of another type is an error that names the property and not the value", () => {
    const { attributesOf } = selectUserAttributes(definition("displayName", "otherMails"));
    expect(() => attributesOf({ displayName: { secret: 1 } })).toThrow(
      'Graph gave a structure for "displayName"',
    );
    expect(() => attributesOf({ otherMails: "a@b.example" })).toThrow("expected a list of string");
  });

  test.each([
    ["userPrincipleName", /Did you mean "userPrincipalName"\?/],
    ["surName", /Did you mean "surname"\?/],
    ["assignedLicenses", /it is a structure/],
    ["onPremisesExtensionAttributes", /select its parts/],
    ["aboutMe", /for a single user only/],
    ["directReports", /select manager/],
    ["memberOf", /select the members of the object type group/],
    ["xyzzy", /has no attribute "xyzzy"\.$/],
  ])("the attribute %s cannot be selected", (name, message) => {
    expect(thrownBy(() => selectUserAttributes(definition(name)))).toEqual(configurationError(message));
  });

  test("a Graph connector has users and groups, each once", () => {
    const types = (...names: string[]) => ({
      name: "AADMA",
      objectTypes: names.map((name) => ({ name, attributes: ["id"] })),
    });
    expect(objectTypesOf(types("group", "user"), unfiltered).map(({ name }) => name)).toEqual([
      "user",
      "group",
    ]);
    for (const names of [["device"], ["user", "user"], []])
      expect(thrownBy(() => objectTypesOf(types(...names), unfiltered))).toEqual(
        configurationError(/"user" and "group"/),
      );
  });

  test("the anchor is a read-only attribute", () => {
    const { schema } = selectUserAttributes(definition("id"));
    expect(schema.attributes.get("id")).toMatchObject({ type: "string", readOnly: true });
  });

  test("references come with the listing where one request can bring them, and are no properties", () => {
    const [user] = objectTypesOf(definition("manager", "sponsors", "mail"), unfiltered);
    expect(user).toMatchObject({
      query: "$select=id,mail&$expand=manager($select=id)",
      deltaSelect: "id,mail,manager",
      pageSizeMax: 100,
      readApart: ["sponsors"],
    });
    const read = { id: "1", manager: { id: "m" }, sponsors: ["b", "a", "b"] };
    expect(attributesToJson(user!.attributes.attributesOf(read))).toEqual({
      manager: { $ref: "m" },
      sponsors: [{ $ref: "a" }, { $ref: "b" }],
    });
    expect(() => user!.attributes.attributesOf({ sponsors: [{}] })).toThrow(/structure for "sponsors"/);
  });

  test("groups are filtered by what a delta import can decide too", () => {
    const filter = parseGroupFilter("mailEnabled eq false and securityEnabled eq true");
    expect(filter.odata).toBe("mailEnabled eq false and securityEnabled eq true");
    expect(filter.matches({ mailEnabled: false, securityEnabled: true })).toBe(true);
    expect(filter.matches({ mailEnabled: true, securityEnabled: true })).toBe(false);
    expect(thrownBy(() => parseGroupFilter("displayName eq 'x'"))).toEqual(
      configurationError(/securityEnabled eq true/),
    );
  });
});

describe("cursor", () => {
  const cursor = {
    phase: "objects",
    type: "user",
    next: "https://graph.example/v1.0/users?$skiptoken=abc",
    links: { user: "https://graph.example/v1.0/users/delta?$deltatoken=def" },
    members: null,
    guard: { kept: "x", pages: 3 },
  } as const;

  test("what was printed can be parsed", () => {
    expect(parseCursor(printCursor(cursor))).toEqual(cursor);
    const changes = { ...cursor, phase: "changes", type: "group" } as const;
    expect(parseCursor(printCursor(changes))).toEqual(changes);
  });

  test.each([
    "",
    "null",
    "{}",
    JSON.stringify({ ...cursor, version: 3 }),
    JSON.stringify({ ...cursor, version: 2, type: "device" }),
    JSON.stringify({ ...cursor, version: 2, links: null }),
    JSON.stringify({ ...cursor, version: 2, guard: null }),
  ])("any other text leads to a full import: %s", (text) => {
    expect(thrownBy(() => parseCursor(text))).toMatchObject({ kind: "watermark-expired" });
  });

  test("a watermark leads to a full import where types or limits have changed since", () => {
    const link = (type: string) => `https://graph.example/v1.0/${type}s/delta?$deltatoken=1`;
    const users = { user: link("user") };
    const both = { ...users, group: link("group") };
    expect(printWatermark(users, null)).toBe(users.user);
    expect(parseWatermark(users.user, ["user"], false)).toEqual({ links: users, members: null });
    expect(parseWatermark(printWatermark(both, null), ["user", "group"], false).links).toEqual(both);
    expect(parseWatermark(printWatermark(users, "d"), ["user"], true)).toEqual({
      links: users,
      members: "d",
    });
    for (const [text, types, limited] of [
      [users.user, ["user", "group"], false],
      [printWatermark(both, null), ["user"], false],
      [users.user, ["user"], true],
      [printWatermark(users, "d"), ["user"], false],
      ["{", ["user"], false],
    ] as const)
      expect(thrownBy(() => parseWatermark(text, types, limited))).toMatchObject({
        kind: "watermark-expired",
      });
  });

  test.each([1, 2, 3, 7])("a circle of %i pages is found wherever it begins", (length) => {
    for (const before of [0, 1, 5, 40]) {
      let guard = newLoopGuard;
      const walk = () => {
        for (let page = 0; page < before + 4 * (before + length) + 4; page++) {
          const link = page < before ? `before-${page}` : `circle-${(page - before) % length}`;
          guard = advanceGuard(guard, link);
        }
      };
      expect(walk).toThrow(/circle/);
    }
  });

  test("a long chain of different pages is no circle, and the guard stays small", () => {
    let guard = newLoopGuard;
    for (let page = 0; page < 500; page++) guard = advanceGuard(guard, `page-${page}`);
    expect(JSON.stringify(guard).length).toBeLessThan(60);
  });
});

describe("failures", () => {
  const answer = (status: number, code = "", headers = {}, message = "Refused.") =>
    answerFailure({ status, headers, body: { error: { code, message } } });

  test.each([
    [401, "InvalidAuthenticationToken", "access-denied", /managed identity.*GRAPH_ACCESS_TOKEN/],
    [403, "Authorization_RequestDenied", "permission-denied", /User\.Read\.All/],
    [410, "resyncRequired", "watermark-expired", /full import/],
    [400, "syncStateNotFound", "watermark-expired", /full import/],
    [400, "Directory_ExpiredPageToken", "watermark-expired", /full import/],
    [400, "Directory_ResyncRequired", "watermark-expired", /full import/],
    [404, "SyncStateNotFound", "watermark-expired", /full import/],
    [400, "Request_BadRequest", "configuration", /attributes and filter/],
    [501, "NotImplemented", "configuration", /attributes and filter/],
    [404, "", "unreachable", /GRAPH_BASE_URL/],
    [429, "TooManyRequests", "throttled", /429/],
    [503, "ServiceUnavailable", "unreachable", /503/],
    [408, "", "unreachable", /408/],
    [509, "", "throttled", /509/],
    [507, "", "configuration", /507/],
    [522, "", "unreachable", /522/],
  ])("%i %s is %s", (status, code, kind, message) => {
    const error = answer(status, code);
    expect(error).toBeInstanceOf(ConnectorError);
    expect(error.kind).toBe(kind);
    expect(error.message).toMatch(message);
  });

  test.each([
    ["Badly formed token.", "watermark-expired"],
    ["DeltaLink older than 30 days is not supported.", "watermark-expired"],
    ["The provided skip token is invalid.", "watermark-expired"],
    ["Could not find a property named 'sponsorz'.", "configuration"],
  ])("400 Request_BadRequest with %j is %s", (message, kind) => {
    expect(answer(400, "Request_BadRequest", {}, message).kind).toBe(kind);
  });

  test("the service's delay is kept, in seconds or as a date", () => {
    expect(answer(429, "", { "retry-after": "17" }).retryAfterMs).toBe(17_000);
    const now = Date.parse("2026-01-01T00:00:00Z");
    expect(retryAfterMs({ "retry-after": "Thu, 01 Jan 2026 00:00:30 GMT" }, now)).toBe(30_000);
    expect(retryAfterMs({ "retry-after": "Wed, 31 Dec 2025 00:00:30 GMT" }, now)).toBe(0);
    expect(retryAfterMs({ "retry-after": "soon" }, now)).toBeUndefined();
    expect(retryAfterMs({}, now)).toBeUndefined();
  });

  test("a link in the service's words is left out, since it may hold a token", () => {
    const error = answer(400, "x", {}, "Bad link https://graph.example/v1.0/users?$skiptoken=SECRET here");
    expect(error.message).not.toContain("SECRET");
  });

  test.each([
    ["SELF_SIGNED_CERT_IN_CHAIN", false, /GRAPH_CA_CERTIFICATE.*GRAPH_BASE_URL/],
    ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", false, /GRAPH_CA_CERTIFICATE/],
    ["ERR_TLS_CERT_ALTNAME_INVALID", false, /GRAPH_BASE_URL/],
    ["CERT_HAS_EXPIRED", false, /has expired.*CERT_HAS_EXPIRED/],
    ["ECONNREFUSED", false, /GRAPH_BASE_URL/],
    ["ENOTFOUND", false, /GRAPH_BASE_URL/],
    ["ECONNRESET", true, /ECONNRESET/],
    ["EAI_AGAIN", true, /EAI_AGAIN/],
  ])("%s: asked again %s", (code, transient, message) => {
    const cause = Object.assign(new Error("failed"), { code });
    for (const error of [cause, new AggregateError([cause])]) {
      const failure = connectionFailure(error, "https://graph.example");
      expect(failure.transient).toBe(transient);
      expect(failure.error.kind).toBe("unreachable");
      expect(failure.error.message).toMatch(message);
    }
  });
});

describe("request handlers", () => {
  const retry = { attemptsMax: 3, budgetMs: 1_000, firstDelayMs: 1, delayMaxMs: 2, callBudgetMs: 1_000 };

  /** Sends one request to a service that answers with these statuses in turn. */
  async function send(
    repeatable: boolean,
    answers: readonly { status: number; headers?: Record<string, string> }[],
    token: TokenSource = () => Promise.resolve("fixed"),
    context: ConnectorContext = { log: () => {} },
    policy: RetryPolicy = retry,
  ) {
    const call = new Call("https://graph.example/v1.0/users", repeatable, context);
    const tokens: string[] = [];
    const service = {
      execute: async (context: { options?: { headers?: unknown } }) => {
        tokens.push((context.options!.headers as Record<string, string>).authorization!);
        const answer = answers[tokens.length - 1]!;
        call.answer = { headers: {}, body: undefined, ...answer };
      },
    };
    const client = Client.initWithMiddleware({
      middleware: [
        new OutcomeHandler(),
        new RetryHandler(policy, "https://graph.example"),
        new TokenHandler(token),
        service,
      ],
    });
    const request = client.api(call.url).middlewareOptions([call]).responseType(ResponseType.RAW);
    await (repeatable ? request.get() : request.post({ invitedUserEmailAddress: "a@b.example" }));
    return { call, tokens };
  }

  test("a read is sent again", async () => {
    const { call, tokens } = await send(true, [{ status: 503 }, { status: 429 }, { status: 200 }]);
    expect(tokens).toHaveLength(3);
    expect(call).toMatchObject({ answer: { status: 200 } });
    expect(call.failure).toBeUndefined();
  });

  test("all requests of one call share a budget of waits; what is beyond it is the caller's to schedule", async () => {
    const policy = { ...retry, callBudgetMs: 90 };
    const context = { log: () => {} };
    const busy = [{ status: 429, headers: { "retry-after": "0.04" } }, { status: 200 }];
    const fixed: TokenSource = () => Promise.resolve("fixed");
    const one = () => send(true, busy, fixed, context, policy);
    // Two waits side by side are one.
    const first = await Promise.all([one(), one()]);
    expect(first.map(({ call }) => call.answer?.status)).toEqual([200, 200]);
    expect((await one()).call.answer?.status).toBe(200);
    expect((await one()).call.failure).toMatchObject({ kind: "throttled", retryAfterMs: 40 });
    expect((await send(true, busy, fixed, { log: () => {} }, policy)).call.answer?.status).toBe(200);
  });

  test("a write is sent once: whether it took effect is not known", async () => {
    const { call, tokens } = await send(false, [{ status: 503 }, { status: 201 }]);
    expect(tokens).toHaveLength(1);
    expect(call.failure).toMatchObject({ kind: "unreachable" });
  });

  test("a token that has expired is renewed, with the claims that the service asks for", async () => {
    const claims = '{"access_token":{"nbf":{"essential":true}}}';
    const challenge = `Bearer error="insufficient_claims", claims="${Buffer.from(claims).toString("base64")}"`;
    const asked: (string | undefined)[] = [];
    const { call, tokens } = await send(
      true,
      [{ status: 401, headers: { "www-authenticate": challenge } }, { status: 200 }],
      (wanted) => {
        asked.push(wanted);
        return Promise.resolve(`token-${asked.length}`);
      },
    );
    expect(asked).toEqual([undefined, claims]);
    expect(tokens).toEqual(["Bearer token-1", "Bearer token-2"]);
    expect(call.answer?.status).toBe(200);
  });

  test("a fixed token that is refused is not sent a second time", async () => {
    const { call, tokens } = await send(true, [{ status: 401 }]);
    expect(tokens).toHaveLength(1);
    expect(call.answer?.status).toBe(401);
  });
});

describe("credentials", () => {
  const credential = (settings: object) => credentialOf(graphSettingsSchema.parse(settings));

  test.each([
    ["https://graph.microsoft.com", "https://login.microsoftonline.com"],
    ["https://graph.microsoft.us", "https://login.microsoftonline.us"],
    ["https://dod-graph.microsoft.us/", "https://login.microsoftonline.us"],
    ["https://microsoftgraph.chinacloudapi.cn", "https://login.chinacloudapi.cn"],
  ])("%s has its own authority", (baseUrl, authorityHost) => {
    expect(credential({ baseUrl, clientId: "c" })).toEqual({
      kind: "identity",
      options: { authorityHost, managedIdentityClientId: "c" },
    });
  });

  test("a certificate goes before the managed identity, and wants to know its application", () => {
    const application = { clientId: "c", tenantId: "t" };
    expect(credential({ ...application, clientCertificate: "/run/app.pem" })).toMatchObject({
      kind: "certificate",
      certificate: { certificatePath: "/run/app.pem" },
    });
    expect(credential({ ...application, clientCertificate: "-----BEGIN …" })).toMatchObject({
      certificate: { certificate: "-----BEGIN …" },
    });
    const { error } = graphSettingsSchema.safeParse({ clientCertificate: "/run/app.pem" });
    expect(error?.issues[0]?.message).toMatch(/clientId and tenantId/);
  });
});

describe("settings", () => {
  test("the public cloud and guests are the defaults", () => {
    expect(graphSettingsSchema.parse({})).toEqual({
      baseUrl: "https://graph.microsoft.com",
      filter: "userType eq 'Guest'",
      groupFilter: "all",
      groups: [],
      invitationMessage: false,
      pageSize: 999,
      stampAttribute: "employeeId",
      transitiveMembers: true,
      writable: false,
    });
    expect(graphSettingsSchema.parse({ baseUrl: "https://graph.microsoft.us/" }).baseUrl).toBe(
      "https://graph.microsoft.us",
    );
  });

  test.each(["http://graph.example", "https://graph.example/v1.0", "graph.example"])(
    "the base URL %s is refused by its setting's name",
    (baseUrl) => {
      const result = graphSettingsSchema.safeParse({ baseUrl });
      expect(result.error?.issues.map(({ message }) => message).join()).toMatch(/GRAPH_BASE_URL/);
    },
  );

  test("an address that is no cloud of Microsoft's is taken only with a token, or with who gives tokens for it", () => {
    const baseUrl = "https://graph.microsoft.de";
    const refused = graphSettingsSchema.safeParse({ baseUrl }).error?.issues.map(({ message }) => message);
    expect(refused?.join()).toMatch(/GRAPH_BASE_URL.*graph\.microsoft\.us.*authorityHost/);
    const authorityHost = "https://login.example";
    for (const more of [{ accessToken: "any" }, { authorityHost }])
      expect(graphSettingsSchema.safeParse({ baseUrl, ...more }).success).toBe(true);
  });

  test.each(["/no/such/file.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"])(
    "a certificate that cannot be used is refused by its setting's name",
    (caCertificate) => {
      const settings = graphSettingsSchema.parse({ caCertificate });
      expect(thrownBy(() => new GraphConnector(definition("id"), settings))).toEqual(
        configurationError(/GRAPH_CA_CERTIFICATE/),
      );
    },
  );

  test("the scope's hash follows what an import depends on, and nothing else", () => {
    const hash = (settings: object, ...attributes: string[]) =>
      new GraphConnector(definition(...attributes), graphSettingsSchema.parse(settings)).scopeHash;
    const usual = hash({}, "id", "mail");
    expect(hash({ pageSize: 5, accessToken: "x" }, "mail", "id")).toBe(usual);
    expect(hash({ filter: "userType  eq 'Guest'" }, "mail")).toBe(usual);
    expect(hash({}, "id", "mail", "surname")).not.toBe(usual);
    expect(hash({ filter: "userType eq 'Member'" }, "id", "mail")).not.toBe(usual);
    expect(hash({ baseUrl: "https://graph.microsoft.us" }, "id", "mail")).not.toBe(usual);
  });
});
