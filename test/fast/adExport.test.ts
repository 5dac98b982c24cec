import { expect, test } from "vitest";
import { attributeDelta } from "../../src/engine/connectors/ad/export.ts";
import { refusal, type WriteKind } from "../../src/engine/connectors/ad/exportErrors.ts";
import { directoryFailure, LdapError, resultCode } from "../../src/engine/connectors/ad/ldapErrors.ts";
import type { AdAttribute, AdObjectType } from "../../src/engine/connectors/ad/schema.ts";
import type { AttributeChange } from "../../src/engine/core/model.ts";
import { type AttributeValue, reference } from "../../src/engine/core/values.ts";

const user: AdObjectType = { name: "user", rdnAttribute: "cn", attributes: new Map() };

const attribute = (name: string, known: Partial<AdAttribute> = {}): AdAttribute => ({
  name,
  type: "string",
  multiValued: false,
  utcTime: false,
  ...known,
});
const single = attribute("givenName");
const many = attribute("otherMailbox", { multiValued: true });
const bits = attribute("userAccountControl", { type: "integer" });
const manager = attribute("manager", { type: "reference", syntax: "dn" });
const none: AttributeValue | undefined = undefined;

function delta(
  one: AdAttribute,
  present: readonly string[],
  before: AttributeValue | undefined,
  after: AttributeValue | undefined,
): unknown {
  const change: AttributeChange = {
    name: one.name,
    rule: "test",
    ...(before === undefined ? {} : { before }),
    ...(after === undefined ? {} : { after }),
  };
  const changes = attributeDelta(
    one,
    change,
    present.map((value) => Buffer.from(value)),
    user,
  );
  return changes === "stale"
    ? "stale"
    : changes.map(({ operation, values }) => [operation, ...values.map(String)]);
}

test.each<[string, AdAttribute, string[], AttributeValue | undefined, AttributeValue | undefined, unknown]>([
  ["a new value", single, [], none, "Ann", [["add", "Ann"]]],
  [
    "another value",
    single,
    ["Ann"],
    "Ann",
    "Bea",
    [
      ["delete", "Ann"],
      ["add", "Bea"],
    ],
  ],
  [
    "a value in another case",
    single,
    ["ann"],
    "ann",
    "Ann",
    [
      ["delete", "ann"],
      ["add", "Ann"],
    ],
  ],
  ["no value any more", single, ["Ann"], "Ann", none, [["delete", "Ann"]]],
  ["the wanted value is there", single, ["Bea"], "Ann", "Bea", []],
  ["the unwanted value is gone", single, [], "Ann", none, []],
  [
    "the value was known in another case",
    single,
    ["ANN"],
    "ann",
    "Bea",
    [
      ["delete", "ANN"],
      ["add", "Bea"],
    ],
  ],
  ["somebody wrote another value", single, ["Cleo"], "Ann", "Bea", "stale"],
  ["somebody removed the value", single, [], "Ann", "Bea", "stale"],
  ["somebody wrote a value where none was", single, ["Cleo"], none, "Bea", "stale"],
  ["bits", bits, ["262656"], 262_656n, 262_658n, [["replace", "262658"]]],
  ["bits that somebody changed", bits, ["514"], 512n, 262_656n, "stale"],
  ["a reference spelt otherwise", manager, ["CN=a\\3D,DC=x"], none, reference("cn=a\\=,dc=X"), []],
  [
    "values of many",
    many,
    ["a", "b"],
    ["a", "b"],
    ["b", "c"],
    [
      ["delete", "a"],
      ["add", "c"],
    ],
  ],
  [
    "values that others added stay",
    many,
    ["a", "x"],
    ["a"],
    ["b"],
    [
      ["delete", "a"],
      ["add", "b"],
    ],
  ],
  ["values that others removed are not missed", many, ["x"], ["a"], ["b"], [["add", "b"]]],
  ["values that are there", many, ["B", "x"], ["a"], ["b"], []],
  ["all values gone", many, ["a", "b"], ["a", "b"], none, [["delete", "a", "b"]]],
  ["the name", attribute("cn"), ["a"], "a", "b", []],
])("%s", (_, one, present, before, after, expected) => {
  expect(delta(one, present, before, after)).toEqual(expected);
});

test("a password is replaced, whatever is known", () => {
  const password = attribute("unicodePwd", { writeOnly: true });
  expect(attributeDelta(password, { name: "unicodePwd", after: "x", rule: "test" }, [], user)).toEqual([
    { operation: "replace", name: "unicodePwd", values: [Buffer.from('"x"', "utf16le")] },
  ]);
});

test("every result code is the directory's failure or an object's error, with a remedy of its own", () => {
  const unexplained = /no better reason/;
  for (const [name, code] of Object.entries(resultCode)) {
    if (code === resultCode.success || code === resultCode.other) continue;
    const result = { code, message: "", matchedDn: "", referrals: [], controls: new Map() };
    const failure = directoryFailure(result);
    if (failure !== undefined) {
      expect(failure.message, name).toMatch(new RegExp(`${code} ${name}.*\\.$`));
      continue;
    }
    for (const kind of ["add", "modify", "rename", "delete"] as const) {
      expect(refusal(new LdapError(result), kind, "CN=a,DC=x").message, name).not.toMatch(unexplained);
    }
  }
  const unknown = { code: 118, message: "", matchedDn: "", referrals: [], controls: new Map() };
  expect(refusal(new LdapError(unknown), "add", "CN=a,DC=x").message).toMatch(unexplained);
});

test.each<[number, string, WriteKind, string]>([
  [19, "00000523: SysErr: DSID-031A1202", "add", "invalid-attribute-value"],
  [10, "0000202B: RefErr: DSID-0310082F", "modify", "cd-error"],
  [53, "0000216D: SvcErr: DSID-031A1254", "add", "cd-error"],
  [19, "0000052D: Constraint violation - check_password_restrictions", "add", "password-policy-violation"],
  [
    53,
    "0000052D: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM)",
    "modify",
    "password-policy-violation",
  ],
  [19, "000021C8: AtrErr: DSID-03200BBA, #1: problem 1005", "modify", "cd-existing-object"],
  [19, "000020B5: AtrErr: DSID-03152392", "modify", "dn-attributes-failure"],
  [19, "00002082: AtrErr: DSID-03151817", "modify", "constraint-violation"],
  [68, "00000524: UpdErr: DSID-031A11E2, problem 6005 (ENTRY_EXISTS)", "add", "cd-existing-object"],
  [50, "00000005: SecErr: DSID-03152E29, problem 4003", "add", "permission-issue"],
  [32, "0000208D: NameErr: DSID-03100245", "add", "non-existent-parent"],
  [32, "0000208D: NameErr: DSID-03100245", "rename", "non-existent-parent"],
  [80, "the new parent is missing", "rename", "non-existent-parent"],
  [32, "0000208D: NameErr: DSID-03100245", "modify", "cd-missing-object"],
  [16, "00000057: LdapErr: DSID-0C090FBF", "modify", "schema-violation"],
  [17, "00000057: LdapErr: DSID-0C090FBF", "modify", "schema-violation"],
  [65, "0000207D: UpdErr: DSID-0315166D", "modify", "schema-violation"],
  [21, "00000057", "modify", "invalid-attribute-value"],
  [34, "0000208F: NameErr", "add", "invalid-dn"],
  [64, "00002099: NameErr", "rename", "invalid-dn"],
  [67, "000020B1", "modify", "modify-naming-attribute"],
  [66, "00002015", "delete", "cd-error"],
  [53, "0000001F", "modify", "cd-error"],
  [80, "unexpected", "modify", "cd-error"],
])(
  "result %i %j of a refused %s is %s, with what the directory said and a remedy",
  (code, message, kind, expected) => {
    const error = new LdapError({ code, message, matchedDn: "DC=x", referrals: [], controls: new Map() });
    const failed = refusal(error, kind, "CN=a,DC=x");
    expect(failed).toMatchObject({ kind: "failed", code: expected });
    expect(failed.message).toMatch(/^CN=a,DC=x: LDAP result \d+.*nearest existing entry: DC=x\. [A-Z].*\.$/);
    expect(failed.message).toContain(message);
  },
);
