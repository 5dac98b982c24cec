import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { connectorFile, metaverseFile } from "../../src/engine/core/configurationSchema.ts";
import { readRuleTexts } from "../../src/engine/core/readRules.ts";
import { readRuleElement } from "../../src/engine/takeover/entraConnectRule.ts";
import { exportedFrom } from "../../src/engine/takeover/exportedRule.ts";
import { reportOf } from "../../src/engine/takeover/report.ts";
import { type Takeover, takeOver } from "../../src/engine/takeover/takeover.ts";
import { readXml } from "../../src/engine/takeover/xml.ts";
import {
  adIdentifier,
  connectorXml,
  entraIdentifier,
  file,
  mapping,
  metaverseXml,
  ruleXml,
  serverConfiguration,
} from "./support/exports.ts";

/** The rules as they are after they were written and read again. */
function readAgain({ files }: Takeover) {
  return readRuleTexts(files.filter((one) => one.file.startsWith("rules/")));
}

function decisions({ findings }: Takeover): readonly string[] {
  return findings.filter(({ kind }) => kind === "decision").map(({ message }) => message);
}

/** One rule, taken over alone. */
function rule(changed: Readonly<Record<string, string>> = {}) {
  const takeover = takeOver(serverConfiguration(ruleXml(changed)));
  return { ...takeover, rule: readAgain(takeover)[0]! };
}

describe("a rule of the server configuration", () => {
  test("has all of its fields in our form", () => {
    const { rule: taken, findings } = rule();
    expect(taken).toEqual({
      name: "In from AD - User Test",
      description: "Two\nlines",
      direction: "inbound",
      connector: "contoso-com",
      connectorObjectType: "user",
      metaverseObjectType: "person",
      linkType: "provision",
      precedence: 42,
      enabled: true,
      scope: [
        [
          { attribute: "adminDescription", operator: "NOTSTARTSWITH", value: "User_" },
          { attribute: "mail", operator: "ISNOTNULL" },
        ],
      ],
      join: [
        [
          { connectorAttribute: "objectSid", metaverseAttribute: "objectSid", caseSensitive: false },
          { connectorAttribute: "mail", metaverseAttribute: "mail", caseSensitive: true },
        ],
        [{ connectorAttribute: "mail", metaverseAttribute: "mail", caseSensitive: false }],
      ],
      flows: [
        {
          target: "displayName",
          kind: "direct",
          source: "displayName",
          applyOnce: false,
          mergeType: "update",
        },
        { target: "mailEnabled", kind: "constant", value: "True", applyOnce: false, mergeType: "update" },
        {
          target: "cn",
          kind: "expression",
          expression: 'IIF(IsPresent([mail]) && [level] > 3, "a", NULL)',
          applyOnce: true,
          mergeType: "mergeCaseInsensitive",
        },
      ],
      origin: {
        product: "Entra Connect",
        identifier: "aaaaaaaa-0000-0000-0000-000000000001",
        version: 3,
        connector: adIdentifier,
        flows: [{ target: "cn", sources: ["mail"] }],
      },
    });
    expect(findings.filter(({ kind }) => kind === "decision")).toEqual([]);
  });

  test.each([
    ["ISNOTBITSET", "ISBITNOTSET"],
    ["NOTSTARTWITH", "NOTSTARTSWITH"],
  ])("the article's %s is %s", (article, ours) => {
    const condition = `<conditions><scope><csAttribute>level</csAttribute><csOperator>${article}</csOperator><csValue>2</csValue></scope></conditions>`;
    expect(rule({ synchronizationCriteria: condition }).rule.scope[0]![0]!.operator).toBe(ours);
  });

  test("joins of any metaverse type stay so", () => {
    const { rule: taken, findings } = rule({ targetObjectType: "*", linkType: "Join" });
    expect(taken).toMatchObject({ metaverseObjectType: "*", linkType: "join", enabled: true });
    expect(findings.filter(({ kind }) => kind === "decision")).toEqual([]);
  });

  test.each([
    [{ linkType: "Sometimes" }, 'The link type "Sometimes" is not known'],
    [{ direction: "Sideways" }, 'The direction "Sideways" is not known'],
    [
      {
        synchronizationCriteria:
          "<conditions><scope><csAttribute>mail</csAttribute><csOperator>RHYMES</csOperator><csValue>x</csValue></scope></conditions>",
      },
      'operator "RHYMES"',
    ],
    [{ "attribute-mappings": mapping("cn", { attributes: ["mail"], merge: "Blend" }) }, 'merge type "Blend"'],
    [{ "attribute-mappings": mapping("cn", { attributes: ["mail", "level"] }) }, "has 2 sources"],
    [{ targetObjectType: "*" }, "Only an inbound rule that joins"],
  ])("%o is taken over disabled, with a question", (changed, question) => {
    const taken = rule(changed);
    expect(taken.rule.enabled).toBe(false);
    expect(decisions(taken).join("\n")).toContain(question);
    expect(reportOf(taken)).toContain("decision needed, disabled");
  });

  test.each([
    ["name", ""],
    ["id", ""],
    ["connector", ""],
    ["precedence", "first"],
    ["precedence", "-1"],
  ])("without a proper %s it is refused with its place", (name, text) => {
    expect(() => rule({ [name]: text })).toThrow(/^SynchronizationRules\/rule0\.xml:\d+:\d+ /);
  });

  test.each([
    [{ EnablePasswordSync: "true" }, "password hashes"],
    [{ softDeleteExpiryInterval: "00:10:00" }, "softDeleteExpiryInterval 00:10:00"],
    [{ "attribute-mappings": mapping("fqdn", { expression: "%Domain.FQDN% & [mail]" }) }, "%Domain.FQDN%"],
    [{ "attribute-mappings": mapping("cn", { expression: "%Connector.ID%" }) }, "the connector's name here"],
  ])("%o differs in meaning, and the report says why", (changed, difference) => {
    const taken = rule(changed);
    const differs = taken.findings.filter(({ kind }) => kind === "differs").map(({ message }) => message);
    expect(differs.join("\n")).toContain(difference);
    expect(taken.rule.enabled).toBe(true);
    expect(reportOf(taken)).toContain("| differs |");
  });

  test("an expression that does not check is told with its place", () => {
    const taken = rule({ "attribute-mappings": mapping("cn", { expression: "Lft([mail], 2)" }) });
    expect(decisions(taken)).toMatchObject([
      expect.stringMatching(/flows\[0\]\.expression \(line 1, column 1\).*Lft.*Left/s),
    ]);
  });

  test("a direct flow into one value fails for several, as it does there", () => {
    const taken = rule({ "attribute-mappings": mapping("photo", { attributes: ["photo"] }) });
    expect(taken.rule.flows).toMatchObject([
      { kind: "expression", expression: expect.stringContaining("Error(") },
    ]);
    expect(decisions(taken)).toEqual([]);
    expect(exportedFrom(taken.rule).flows).toMatchObject([
      { flowType: "Direct", sources: ["photo"], expression: null },
    ]);
  });
});

describe("round trip", () => {
  const text = fc
    .string({ unit: "binary", maxLength: 40 })
    .map((any) => any.replace(/[^\t\n\x20-\uD7FF\uE000-\uFFFD]/g, ""));
  const name = fc.stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,12}$/);
  const expression = fc.oneof(
    text.map((any) => `"${any.replaceAll("\\", "\\\\").replaceAll('"', '""')}" & [mail]`),
    fc.constantFrom("[a]\n  & [b]", "", "IIF([a] = 1, NULL, [a])", "%Domain.FQDN%", "Broken("),
  );
  const flow = fc.record({
    target: name,
    attributes: fc.array(name, { maxLength: 2 }),
    constant: text,
    expression: fc.option(expression, { nil: undefined }),
    once: fc.boolean(),
    merge: fc.constantFrom("Update", "Replace", "Merge", "MergeCaseInsensitive", "Blend"),
  });
  const guid = fc.uuid().map((uuid) => `{${uuid.toUpperCase()}}`);
  const operators = ["EQUAL", "NOTEQUAL", "ISNULL", "ISNOTBITSET", "ISMEMBEROF", "RHYMES"];

  test("what is written and read again is the rule of the export", () => {
    fc.assert(
      fc.property(
        fc.record({
          name: name.map((short) => `In from AD - ${short}`),
          description: text,
          "immutable-tag": fc.constantFrom("", "Microsoft.InfromADUserJoin.004"),
          direction: fc.constantFrom("Inbound", "Outbound"),
          disabled: fc.constantFrom("True", "False", "true"),
          sourceObjectType: fc.constantFrom("user", "msDS-Device"),
          targetObjectType: fc.constantFrom("person", "*"),
          linkType: fc.constantFrom("Join", "Provision", "StickyJoin", "Sometimes"),
          precedence: fc.nat(1000).map(String),
          "precedence-before": guid,
          softDeleteExpiryInterval: fc.constantFrom("00:00:00", "01:00:00"),
          EnablePasswordSync: fc.constantFrom("true", "false"),
          flows: fc.array(flow, { maxLength: 4 }),
          scope: fc.array(fc.tuple(name, fc.constantFrom(...operators), text), { maxLength: 3 }),
        }),
        ({ flows, scope, ...changed }) => {
          const source = ruleXml({
            ...changed,
            "attribute-mappings": flows
              .map(({ target, attributes, ...rest }) =>
                mapping(target, { ...rest, ...(attributes.length > 0 && { attributes }) }),
              )
              .join(""),
            synchronizationCriteria: scope
              .map(
                ([attribute, operator, value]) =>
                  `<conditions><scope><csAttribute>${attribute}</csAttribute><csOperator>${operator}</csOperator><csValue>${value.replaceAll("&", "&amp;").replaceAll("<", "&lt;")}</csValue></scope></conditions>`,
              )
              .join(""),
          });
          const exported = readRuleElement(readXml("rule.xml", source));
          const [again] = readAgain(takeOver(serverConfiguration(source)));
          const { scope: writtenScope, direction, ...written } = exportedFrom(again!);
          const { scope: exportedScope, direction: exportedDirection, ...rest } = exported;
          expect(written).toEqual(rest);
          expect(direction).toBe(exportedDirection);
          // The article's spelling of an operator is the only thing that is written as the product writes it.
          const canonical = (groups: typeof exportedScope) =>
            groups.map((group) =>
              group.map((one) => ({ ...one, operator: one.operator.replace("ISNOTBITSET", "ISBITNOTSET") })),
            );
          expect(canonical(writtenScope)).toEqual(canonical(exportedScope));
        },
      ),
      { numRuns: 60 },
    );
  });

  test("two imports write the same files, whatever the order of the listing", () => {
    const files = serverConfiguration(ruleXml(), ruleXml({ name: "Another", precedence: "7" }));
    expect(takeOver(files.toReversed()).files).toEqual(takeOver(files).files);
    expect(takeOver(files).files.map((one) => one.file)).toEqual([
      "connectors/contoso-com.yaml",
      "metaverse.yaml",
      "rules/Another.yaml",
      "rules/In-from-AD-User-Test.yaml",
    ]);
  });

  test("rules of the same name in two forests have a name each, and keep their own", () => {
    const other = "22222222-2222-3333-4444-555555555555";
    const takeover = takeOver([
      ...serverConfiguration(ruleXml(), ruleXml({ connector: other, id: "b", "internal-id": "b" })),
      file("Connectors/Connector_z.xml", connectorXml({ id: other, name: "fabrikam.com" })),
    ]);
    const rules = readAgain(takeover);
    expect(rules.map(({ name }) => name).sort()).toEqual([
      "In from AD - User Test",
      "In from AD - User Test (fabrikam-com)",
    ]);
    expect(rules.map((one) => exportedFrom(one).name)).toEqual([
      "In from AD - User Test",
      "In from AD - User Test",
    ]);
  });
});

describe("connectors and metaverse", () => {
  const taken = takeOver(
    serverConfiguration(ruleXml({ "attribute-mappings": mapping("fqdn", { expression: "%Domain.FQDN%" }) })),
  );
  const yaml = (name: string) => parse(taken.files.find((one) => one.file === name)!.text) as unknown;

  test("a forest becomes an AD connector with the selected attributes of the types that rules use", () => {
    expect(yaml("connectors/contoso-com.yaml")).toEqual({
      name: "contoso-com",
      kind: "ad",
      settings: {
        url: "%CONTOSO_COM_URL%",
        bindDn: "%CONTOSO_COM_BIND_DN%",
        bindPassword: "%CONTOSO_COM_BIND_PASSWORD%",
        caCertificate: "%CONTOSO_COM_CA_CERTIFICATE|%",
        baseDn: "DC=contoso,DC=com",
        containers: ["OU=Staff,DC=contoso,DC=com"],
      },
      objectTypes: [
        {
          name: "user",
          attributes: ["adminDescription", "displayName", "level", "mail", "objectSid", "photo"],
        },
      ],
    });
    expect(connectorFile.safeParse(yaml("connectors/contoso-com.yaml")).success).toBe(true);
    expect(taken.findings.map(({ message }) => message).join("\n")).toContain(
      "selected object types computer",
    );
  });

  test("the metaverse has its types, what is joined on is indexed, and parameters have the export's values", () => {
    expect(metaverseFile.safeParse(yaml("metaverse.yaml")).data).toMatchObject({
      parameters: { "Domain.FQDN": "contoso.com" },
      objectTypes: [
        {
          name: "person",
          deletionRule: "lastProvisioningRule",
          attributes: [
            { name: "displayName", type: "string", multiValued: false, indexed: false },
            { name: "mail", indexed: true },
            { name: "cn" },
            { name: "mailEnabled", type: "boolean" },
            { name: "objectSid", type: "binary", indexed: true },
            { name: "photo" },
            { name: "fqdn" },
          ],
        },
      ],
    });
  });

  test("what is excluded inside of what is included has to be decided", () => {
    const containers =
      "<exclusions><exclusion>OU=Old,OU=Staff,DC=contoso,DC=com</exclusion></exclusions><inclusions><inclusion>OU=Staff,DC=contoso,DC=com</inclusion></inclusions>";
    const takeover = takeOver([file("a.xml", connectorXml({ containers })), file("r.xml", ruleXml())]);
    expect(decisions(takeover).join()).toContain("OU=Old,OU=Staff");
  });

  test("a connector that is there already keeps its name and its file", () => {
    const takeover = takeOver(serverConfiguration(ruleXml()), {
      connectors: new Map([[adIdentifier, "ADMA"]]),
    });
    expect(takeover.rules[0]!.connector).toBe("ADMA");
    expect(takeover.files.map((one) => one.file)).not.toContain("connectors/ADMA.yaml");
  });

  test("rules alone name the connectors that are missing", () => {
    const takeover = takeOver([
      file("a.xml", ruleXml()),
      file("b.xml", ruleXml({ name: "B", precedence: "7", connector: entraIdentifier })),
    ]);
    expect(takeover.rules.map(({ connector }) => connector)).toEqual(["AAD", "connector-11111111"]);
    expect(decisions(takeover)).toHaveLength(2);
    expect(decisions(takeover)[0]).toContain(`--connector ${adIdentifier}=NAME`);
  });

  test("no password of an export is ever written", () => {
    expect(JSON.stringify(taken.files)).not.toContain("never");
  });
});

describe("the wizard's JSON", () => {
  const policy = {
    OnPremisesDirectoryPolicy: [
      {
        uniqueIdentifier: adIdentifier,
        standardSynchronizationRules: [{ Name: "In from AD - User Join", precedence: 100 }],
        customSynchronizationRules: [
          {
            name: "Custom",
            direction: "Inbound",
            source: "user",
            target: "person",
            linkType: "Join",
            precedence: 50,
            uniqueIdentifier: "c",
            scopeFilters: [{ attribute: "mail", condition: "ISNOTNULL", value: null }],
            attributeMappings: [{ destination: "cn", source: ["displayName"] }],
          },
        ],
      },
    ],
    azureDirectoryPolicy: { standardSynchronizationRules: [], customSynchronizationRules: [] },
  };

  test("is read as far as it goes, and the report asks for the server configuration", () => {
    const takeover = takeOver([file("Applied-SynchronizationPolicy-1.JSON", JSON.stringify(policy))]);
    expect(readAgain(takeover)).toMatchObject([
      {
        name: "Custom",
        precedence: 50,
        enabled: false,
        scope: [[{ attribute: "mail", operator: "ISNOTNULL" }]],
        flows: [{ kind: "direct", source: "displayName", target: "cn" }],
      },
    ]);
    expect(reportOf(takeover)).toMatch(
      /Get-ADSyncServerConfiguration writes instead\. Standard rules: In from AD - User Join \(100\)/,
    );
  });

  test("other JSON is passed over; broken JSON is told", () => {
    expect(takeOver([file("package.json", '{"name":"x"}')]).findings).toMatchObject([{ kind: "remark" }]);
    expect(() => takeOver([file("x.json", "{")])).toThrow("x.json:1:1 This is not JSON");
  });
});

test("the report holds names of the export as text, whatever they are", () => {
  const takeover = takeOver([
    file("a.xml", ruleXml({ name: "<script>|*x*|`y`" })),
    file("m.xml", metaverseXml()),
  ]);
  expect(reportOf(takeover)).toContain("\\<script\\>\\|\\*x\\*\\|\\`y\\`");
});
