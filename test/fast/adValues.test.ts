import fc from "fast-check";
import { expect, test } from "vitest";
import {
  LdapFramer,
  LdapProtocolError,
  type LdapResponse,
} from "../../src/engine/connectors/ad/ldapMessages.ts";
import { namingViolation } from "../../src/engine/connectors/ad/namingRules.ts";
import type { AdAttribute, AdObjectType } from "../../src/engine/connectors/ad/schema.ts";
import { editDistance } from "../../src/engine/connectors/ad/schema.ts";
import { adSettingsSchema, connectionTarget } from "../../src/engine/connectors/ad/settings.ts";
import {
  decodeAttribute,
  encodeAttribute,
  encodePassword,
  guidText,
} from "../../src/engine/connectors/ad/values.ts";
import { newPassword } from "../../src/engine/connectors/password.ts";
import { type AttributeValue, type DateTime, reference, valueToJson } from "../../src/engine/core/values.ts";
import { entry, result } from "../support/fakeLdap.ts";

const attribute = (name: string, known: Partial<AdAttribute> = {}): AdAttribute => ({
  name,
  type: "string",
  multiValued: false,
  utcTime: false,
  ...known,
});

test("objectGUID bytes are read in the order of the directory's tools", () => {
  const bytes = Buffer.from("0714b0c688b4db4189aabbccddeeff00", "hex");
  expect(guidText(bytes)).toBe("c6b01407-b488-41db-89aa-bbccddeeff00");
  expect(bytes.toString("hex")).toBe("0714b0c688b4db4189aabbccddeeff00");
});

test.each<[string, Partial<AdAttribute>, string[], AttributeValue]>([
  ["text", {}, ["Zoë 漢字 "], "Zoë 漢字 "],
  ["a number beyond 53 bits", { type: "integer" }, ["9223372036854775807"], 9223372036854775807n],
  ["a negative number", { type: "integer" }, ["-2147483646"], -2147483646n],
  ["a boolean", { type: "boolean" }, ["TRUE"], true],
  ["a reference", { type: "reference" }, ["CN=a,DC=x"], reference("CN=a,DC=x")],
  ["one value of many", { multiValued: true }, ["a"], ["a"]],
  ["many values", { multiValued: true }, ["a", "b"], ["a", "b"]],
])("%s comes from the directory and goes back", (_, known, raw, value) => {
  const buffers = raw.map((text) => Buffer.from(text));
  expect(decodeAttribute(attribute("x", known), buffers)).toEqual(value);
  expect(encodeAttribute(attribute("x", known), value)).toEqual(buffers);
});

test.each([
  ["20260131235958.0Z", false, "2026-01-31T23:59:58Z", "20260131235958.0Z"],
  ["20260131235958.1234567Z", false, "2026-01-31T23:59:58.1234567Z", "20260131235958.0Z"],
  ["16010101000000.0Z", false, "1601-01-01T00:00:00Z", "16010101000000.0Z"],
  ["491231235959Z", true, "2049-12-31T23:59:59Z", "491231235959Z"],
  ["500101000000Z", true, "1950-01-01T00:00:00Z", "500101000000Z"],
])("time %s", (raw, utcTime, iso, written) => {
  const time = attribute("whenCreated", { type: "dateTime", utcTime });
  const value = decodeAttribute(time, [Buffer.from(raw)]) as DateTime;
  expect(valueToJson(value)).toEqual({ $dt: iso });
  expect(encodeAttribute(time, value).map(String)).toEqual([written]);
});

test("bytes are copied out of the network message and go back unchanged", () => {
  const photo = attribute("photo", { type: "binary" });
  const message = Buffer.from([1, 2, 255, 4]);
  const value = decodeAttribute(photo, [message.subarray(1, 3)]) as Uint8Array;
  message.fill(0);
  expect([...value]).toEqual([2, 255]);
  expect(encodeAttribute(photo, value)).toEqual([Buffer.from([2, 255])]);
});

test("values that do not fit the schema are refused without being told", () => {
  const invalid = Buffer.from([0xff, 0x41]);
  expect(() => decodeAttribute(attribute("sn"), [invalid])).toThrow("sn is not UTF-8");
  expect(() => decodeAttribute(attribute("n", { type: "integer" }), [Buffer.from("12x")])).toThrow(
    "n is not",
  );
  expect(() => decodeAttribute(attribute("sn"), [Buffer.from("a"), Buffer.from("b")])).toThrow("allows one");
  expect(() => encodeAttribute(attribute("sn"), 7n)).toThrow("sn is of type string");
  expect(() => encodeAttribute(attribute("n", { type: "integer" }), "secret")).toThrow(
    /^n is of type integer/,
  );
  expect(() => encodeAttribute(attribute("sn"), ["a", "b"])).toThrow("takes one value, 2 flow");
  expect(decodeAttribute(attribute("sn"), [])).toBeUndefined();
  expect(encodeAttribute(attribute("sn"), undefined)).toEqual([]);
});

test("a password is quoted UTF-16 little-endian", () => {
  expect(encodePassword("aé").toString("hex")).toBe("22006100e9002200");
});

test("new passwords differ, have every class of characters, and no part of the names", () => {
  const passwords = Array.from({ length: 300 }, () =>
    newPassword({ accountName: "abc", displayName: "Ann Lee-Zoe, X. #42_ab1" }),
  );
  expect(new Set(passwords).size).toBe(300);
  for (const password of passwords) {
    expect(password).toHaveLength(64);
    for (const symbols of [/[A-Z]/, /[a-z]/, /\d/, /[^A-Za-z0-9]/]) expect(password).toMatch(symbols);
    expect(password).not.toMatch(/abc|ann|lee|zoe|ab1/i);
    expect(password).toMatch(/^[!#-~]+$/);
  }
});

// ---- naming rules ----------------------------------------------------------------------------------------------

const user: AdObjectType = {
  name: "user",
  rdnAttribute: "cn",
  attributes: new Map(
    [
      attribute("sAMAccountName", { rangeUpper: 256 }),
      attribute("givenName", { rangeUpper: 64 }),
      attribute("thumbnailPhoto", { type: "binary", rangeUpper: 10 }),
      attribute("unicodePwd", { writeOnly: true }),
    ].map((one) => [one.name.toLowerCase(), one]),
  ),
};
const broken = (name: string, after: AttributeValue, dn?: string) =>
  namingViolation(user, [{ name, after, rule: "test" }], dn);

test.each([
  ["a".repeat(20), undefined],
  ["a".repeat(21), /21 characters, at most 20/],
  ["6b0c1507-b488-41db-9", undefined],
  ["a b.c_d-e$#%&'(){}!~", undefined],
  ["a@b", /character @/],
  ["a*b", /character \*/],
  ["a\\b", /character \\/],
  ["a\u0007b", /control character/],
  ["a.", /ends with a full stop/],
  [" . .", /ends with a full stop/],
  ["   ", /spaces and full stops only/],
])("account name %j", (name, message) => {
  const violation = broken("samaccountname", name);
  if (message === undefined) expect(violation).toBeUndefined();
  else
    expect(violation).toMatchObject({
      code: "invalid-attribute-value",
      message: expect.stringMatching(message),
    });
});

test.each([
  [`CN=${"a".repeat(64)},DC=x`, undefined],
  [`CN=${"a".repeat(65)},DC=x`, /65 characters, at most 64/],
  ['CN=O\'Brien\\, \\"Zoë\\" \\<z\\+y\\>\\=\\;\\\\,OU=a,DC=x', undefined],
  ["CN=,DC=x", /has no name/],
  ["CN=a\\0ADEL:b,DC=x", /control character/],
  ["CN=a+SN=b,DC=x", /several attributes/],
  ["no name", /Not a distinguished name/],
  ["", /has no name/],
])("DN %j", (dn, message) => {
  const violation = namingViolation(user, [], dn);
  if (message === undefined) expect(violation).toBeUndefined();
  else expect(violation).toMatchObject({ code: "invalid-dn", message: expect.stringMatching(message) });
});

test("lengths are those of the directory's schema", () => {
  expect(broken("givenName", "é".repeat(64))).toBeUndefined();
  expect(broken("givenName", "é".repeat(65))).toMatchObject({ code: "constraint-violation" });
  expect(broken("thumbnailPhoto", new Uint8Array(11))).toMatchObject({
    message: expect.stringMatching(/11 bytes/),
  });
  expect(broken("givenName", "")).toMatchObject({ code: "invalid-attribute-value" });
  expect(broken("unicodePwd", "x".repeat(999))).toBeUndefined();
  expect(broken("unknownHere", "x")).toBeUndefined();
});

// ---- settings --------------------------------------------------------------------------------------------------

const settings = {
  url: "ldaps://dc1.contoso.local",
  bindDn: "svc@contoso.local",
  bindPassword: "x",
  baseDn: "DC=contoso,DC=local",
  containers: ["OU=Guests,DC=contoso,DC=local"],
};

test("settings have defaults", () => {
  expect(adSettingsSchema.parse(settings)).toMatchObject({
    operationTimeoutMs: 30_000,
    inFlight: 16,
    pageSize: 500,
    stampAttribute: "adminDescription",
    randomPassword: true,
  });
});

test.each([
  [{ url: "ldap://dc1.contoso.local" }, /AD_URL must be ldaps/],
  [{ url: "dc1" }, /AD_URL must be ldaps/],
  [{ url: "ldaps://dc1/DC=x?cn" }, /AD_URL must be ldaps/],
  [{ bindPassword: "" }, /AD_BIND_PASSWORD is empty/],
  [{ bindDn: "" }, /AD_BIND_DN is empty/],
  [{ baseDn: "contoso.local" }, /AD_BASE_DN must be a distinguished name/],
  [{ containers: [] }, /GUEST_OU is missing/],
  [{ containers: ["Guests"] }, /GUEST_OU must be a distinguished name/],
  [{ containers: ["OU=Guests,DC=fabrikam,DC=local"] }, /GUEST_OU \(.*does not lie in AD_BASE_DN/],
])("wrong setting %j is named", (change, message) => {
  const parsed = adSettingsSchema.safeParse({ ...settings, ...change });
  expect(parsed.error?.issues[0]?.message).toMatch(message);
});

test.each([
  ["/no/such/file.pem", /AD_CA_CERTIFICATE is neither PEM text nor a file/],
  [import.meta.filename, /AD_CA_CERTIFICATE holds/],
  ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", /certificate that cannot be read/],
])("an authority certificate %j is refused", (caCertificate, message) => {
  const wrong = adSettingsSchema.parse({ ...settings, caCertificate });
  expect(() => connectionTarget(wrong)).toThrow(message);
});

test("an address is verified as an address, a name as a name", () => {
  const serverName = (change: object) =>
    connectionTarget(adSettingsSchema.parse({ ...settings, ...change })).tls.servername;
  expect(serverName({})).toBe("dc1.contoso.local");
  expect(serverName({ url: "ldaps://10.0.0.1:3636" })).toBeUndefined();
  expect(serverName({ url: "ldaps://[fd00::1]" })).toBeUndefined();
  expect(serverName({ url: "ldaps://10.0.0.1", serverName: "dc2.contoso.local" })).toBe("dc2.contoso.local");
});

test("the nearest names are the least edits away", () => {
  expect(editDistance("givenname", "givname")).toBe(2);
  expect(editDistance("", "abc")).toBe(3);
  expect(editDistance("mail", "mail")).toBe(0);
});

// ---- messages --------------------------------------------------------------------------------------------------

const stream = Buffer.concat([
  entry({ id: 5 }, "CN=Zoë", { Mail: ["a", "b"], empty: [] }),
  entry({ id: 300 }, "CN=x", { photo: [Buffer.alloc(700, 0xee)] }),
  result({ id: 300, operation: 0x63 }, { code: 0, cookie: "cookie-1" }),
  result({ id: 6, operation: 0x68 }, { code: 68, message: "00002071: exists\u0000", matchedDn: "DC=x" }),
]);

test("messages are the same however the network cuts them", () => {
  const whole: LdapResponse[] = [];
  new LdapFramer().read(stream, (message) => whole.push(message));
  expect(whole.map(({ kind, id }) => [kind, id])).toEqual([
    ["entry", 5],
    ["entry", 300],
    ["result", 300],
    ["result", 6],
  ]);
  expect(whole[3]).toMatchObject({ result: { code: 68, message: "00002071: exists", matchedDn: "DC=x" } });
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: stream.length - 1 }), { maxLength: 20 }), (cuts) => {
      const framer = new LdapFramer();
      const messages: LdapResponse[] = [];
      const edges = [0, ...new Set(cuts), stream.length].sort((a, b) => a - b);
      for (const [index, edge] of edges.slice(1).entries()) {
        framer.read(stream.subarray(edges[index], edge), (message) => messages.push(message));
      }
      expect(messages).toEqual(whole);
    }),
    { numRuns: 50 },
  );
});

test("anything else than LDAP is refused, never misread or waited for", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 60 }), (bytes) => {
      try {
        new LdapFramer().read(Buffer.from(bytes), () => {});
      } catch (error) {
        expect(error).toBeInstanceOf(LdapProtocolError);
        return;
      }
      expect(bytes[0]).toBe(0x30);
    }),
  );
  const tooLong = Buffer.from([0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 0x02]);
  expect(() => new LdapFramer().read(tooLong, () => {})).toThrow(/too long/);
});
