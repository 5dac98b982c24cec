import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { connectorFile, metaverseFile } from "../../src/engine/core/configurationSchema.ts";
import { compileExpression } from "../../src/engine/core/expression/expression.ts";
import { readRuleTexts } from "../../src/engine/core/readRules.ts";
import { translateMim, unlessNull } from "../../src/engine/takeover/mimExpression.ts";
import { reportOf } from "../../src/engine/takeover/report.ts";
import { type ExportFile, takeOver } from "../../src/engine/takeover/takeover.ts";
import { outcome } from "./expressionSupport.ts";
import { connectorXml, file, metaverseXml, xml } from "./support/exports.ts";

const agent = "99999999-8888-7777-6666-555555555555";

function resource(
  attributes: Readonly<Record<string, string | readonly string[]>>,
  type = "SynchronizationRule",
): string {
  const element = ([name, value]: readonly [string, string | readonly string[]]) =>
    `<ResourceManagementAttribute><AttributeName>${name}</AttributeName>${
      typeof value === "string"
        ? `<Value>${xml(value)}</Value>`
        : `<Values>${value.map((one) => `<string>${xml(one)}</string>`).join("")}</Values>`
    }</ResourceManagementAttribute>`;
  return `<ExportObject><ResourceManagementObject><ObjectIdentifier>urn:uuid:cccccccc-0000-0000-0000-000000000001</ObjectIdentifier>
    <ObjectType>${type}</ObjectType><ResourceManagementAttributes>${Object.entries(attributes).map(element).join("")}</ResourceManagementAttributes>
  </ResourceManagementObject></ExportObject>`;
}

const rule = {
  DisplayName: "HR people",
  Description: "From the HR system",
  FlowType: "0",
  Precedence: "2",
  ConnectedSystem: `{${agent.toUpperCase()}}`,
  ConnectedObjectType: "user",
  ILMObjectType: "person",
  CreateILMObject: "True",
  CreateConnectedSystemObject: "False",
  RelationshipCriteria:
    "<conditions><condition><ilmAttribute>mail</ilmAttribute><csAttribute>mail</csAttribute></condition></conditions>",
  ConnectedSystemScope:
    "<scoping><scope><csAttribute>level</csAttribute><csOperator>NOTEQUAL</csOperator><csValue>5</csValue></scope></scoping>",
  PersistentFlow: [
    "<import-flow><src><attr>mail</attr></src><dest>mail</dest><scoping></scoping></import-flow>",
    "<import-flow><src>True</src><dest>mailEnabled</dest></import-flow>",
    '<import-flow><src><attr>displayName</attr></src><dest>displayName</dest><fn id="IIF"><arg><fn id="Eq"><arg>displayName</arg><arg>"x"</arg></fn></arg><arg>"y"</arg><arg><fn id="UpperCase"><arg>displayName</arg></fn></arg></fn></import-flow>',
  ],
} as const;

/** A policy with these resources, and the management agent that they name. */
function policy(...resources: readonly string[]): readonly ExportFile[] {
  return [
    file("policy.xml", `<Results>${resources.join("")}</Results>`),
    file(
      "MA-1.XML",
      `<saved-ma-configuration>${connectorXml({ id: agent, name: "HR" })}</saved-ma-configuration>`,
    ),
    file("MV.XML", metaverseXml()),
  ];
}

function readAgain(files: readonly ExportFile[]) {
  const takeover = takeOver(files);
  const rules = readRuleTexts(takeover.files.filter((one) => one.file.startsWith("rules/")));
  const decisions = takeover.findings.filter(({ kind }) => kind === "decision").map(({ message }) => message);
  return { takeover, rules, decisions: decisions.join("\n") };
}

describe("a synchronisation rule of the MIM service", () => {
  test("inbound: scope, join, projection and flows", () => {
    const { rules, decisions } = readAgain(policy(resource(rule)));
    expect(decisions).toBe("");
    expect(rules).toMatchObject([
      {
        name: "HR people",
        description: "From the HR system",
        direction: "inbound",
        connector: "HR",
        connectorObjectType: "user",
        metaverseObjectType: "person",
        linkType: "provision",
        precedence: 2,
        enabled: true,
        scope: [[{ attribute: "level", operator: "NOTEQUAL", value: "5" }]],
        join: [[{ connectorAttribute: "mail", metaverseAttribute: "mail", caseSensitive: false }]],
        flows: [
          { target: "mail", kind: "direct", source: "mail" },
          { target: "mailEnabled", kind: "constant", value: "True" },
          {
            target: "displayName",
            kind: "expression",
            expression: 'IIF([displayName] = "x", "y", UCase([displayName]))',
          },
        ],
      },
    ]);
  });

  test("nothing that the resource says is lost", () => {
    const { rules } = readAgain(policy(resource(rule)));
    expect(rules[0]!.origin).toEqual({
      product: "MIM",
      identifier: "cccccccc-0000-0000-0000-000000000001",
      attributes: rule,
    });
  });

  const outbound = {
    ...rule,
    DisplayName: "Accounts",
    FlowType: "1",
    CreateConnectedSystemObject: "True",
    msidmOutboundIsFilterBased: "True",
    msidmOutboundScopingFilters:
      "<scoping><scope><csAttribute>mail</csAttribute><csOperator>ISNOTNULL</csOperator><csValue></csValue></scope></scoping>",
    InitialFlow: [
      '<export-flow allows-null="false"><src><attr>mail</attr></src><dest>dn</dest><fn id="+"><arg>"CN="</arg><arg>mail</arg><arg>",DC=x"</arg></fn></export-flow>',
      '<export-flow allows-null="false"><src>Secret-1</src><dest>unicodePwd</dest></export-flow>',
    ],
    PersistentFlow: [
      '<export-flow allows-null="true"><src><attr>mail</attr></src><dest>mail</dest></export-flow>',
      '<export-flow allows-null="false"><src><attr>displayName</attr></src><dest>displayName</dest></export-flow>',
    ],
  };

  test("outbound: filter, initial flows once, and NULL only where it is allowed", () => {
    const { rules, decisions } = readAgain(policy(resource(outbound)));
    expect(decisions).toBe("");
    expect(rules).toMatchObject([
      {
        direction: "outbound",
        linkType: "provision",
        enabled: true,
        scope: [[{ attribute: "mail", operator: "ISNOTNULL" }]],
        flows: [
          { target: "dn", applyOnce: true, expression: '"CN=" & [mail] & ",DC=x"' },
          { target: "mail", kind: "direct", source: "mail" },
          {
            target: "displayName",
            expression: "IIF(IsPresent([displayName]), [displayName], IgnoreThisFlow)",
          },
        ],
      },
    ]);
  });

  test("a password is neither written nor told", () => {
    const { takeover } = readAgain(policy(resource(outbound)));
    expect(JSON.stringify(takeover.files)).not.toContain("Secret-1");
    expect(reportOf(takeover)).not.toContain("Secret-1");
    expect(reportOf(takeover)).toContain('The flow into "unicodePwd" was left out');
  });

  test("a rule for sets and workflows has no scope here, so it is disabled", () => {
    const { rules, decisions } = readAgain(
      policy(resource({ ...outbound, msidmOutboundIsFilterBased: "False" })),
    );
    expect(rules).toMatchObject([{ enabled: false, scope: [] }]);
    expect(decisions).toContain("Sets, management policy rules and workflows");
  });

  test("a rule for both directions becomes two", () => {
    const flows = [...rule.PersistentFlow, ...outbound.PersistentFlow];
    const { rules } = readAgain(policy(resource({ ...outbound, FlowType: "2", PersistentFlow: flows })));
    expect(rules.map(({ name, direction, flows: own }) => [name, direction, own.length])).toEqual([
      ["Accounts (inbound)", "inbound", 3],
      ["Accounts (outbound)", "outbound", 3],
    ]);
  });

  test.each([
    [{ ConnectedSystem: "{00000000-0000-0000-0000-0000000000ff}" }, "is not in the export"],
    [{ SynchronizationRuleParameters: ["<p/>"] }, "A workflow fills in parameters"],
    [{ Precedence: [] }, "The precedence is missing"],
    [
      {
        PersistentFlow: [
          '<import-flow><src/><dest>mail</dest><fn id="Nope"><arg>mail</arg></fn></import-flow>',
        ],
      },
      "There is no function Nope",
    ],
  ])("%o is a question", (changed, question) => {
    const { rules, decisions } = readAgain(policy(resource({ ...rule, ...changed })));
    expect(rules).toMatchObject([{ enabled: false }]);
    expect(decisions).toContain(question);
  });

  test("broken XML inside a value is told with the resource's place", () => {
    const broken = resource({ ...rule, ConnectedSystemScope: "<scoping>" });
    expect(() => takeOver(policy(broken))).toThrow(/^policy\.xml:1:\d+ This is not well-formed XML/);
  });
});

describe("MIM's synchronisation engine", () => {
  const join = `<join><join-profile cd-object-type="user"><join-criterion><search mv-object-type="person">
      <attribute-mapping mv-attribute="mail"><direct-mapping><src-attribute>mail</src-attribute></direct-mapping></attribute-mapping>
    </search><resolution type="none"/></join-criterion></join-profile></join>`;
  const projection = `<projection><class-mapping type="declared" cd-object-type="user"><mv-object-type>person</mv-object-type></class-mapping></projection>`;
  const exports = `<export-attribute-flow><export-flow-set cd-object-type="user" mv-object-type="person">
      <export-flow cd-attribute="displayName" suppress-deletions="true"><direct-mapping><src-attribute>displayName</src-attribute></direct-mapping></export-flow>
      <export-flow cd-attribute="mail" suppress-deletions="false"><direct-mapping><src-attribute>mail</src-attribute></direct-mapping></export-flow>
      <export-flow cd-attribute="adminDescription"><scripted-mapping><src-attribute>mail</src-attribute><script-context>Stamp</script-context></scripted-mapping></export-flow>
    </export-flow-set></export-attribute-flow>`;
  const filter = `<stay-disconnector><filter-set cd-object-type="user" type="declared"><filter-alternative>
      <condition cd-attribute="adminDescription" operator="substring-start"><value>User_</value></condition>
      <condition cd-attribute="mail" operator="not-present"><value/></condition></filter-alternative></filter-set></stay-disconnector>`;
  const cleanup = `<provisioning-cleanup type="declared"><action>delete-object</action></provisioning-cleanup>`;
  const other = "88888888-8888-7777-6666-555555555555";
  const importFlow = (ma: string, source: string) =>
    `<import-flow src-ma="{${ma}}" cd-object-type="user">${source}</import-flow>`;
  const direct = (name: string) => `<direct-mapping><src-attribute>${name}</src-attribute></direct-mapping>`;
  const flows = (attribute: string, type: string, ...sources: string[]) =>
    `<import-flows mv-attribute="${attribute}" type="${type}">${sources.join("")}</import-flows>`;

  const metaverse = (...imports: string[]) =>
    metaverseXml(`<import-attribute-flow><import-flow-set mv-object-type="person">${imports.join("")}</import-flow-set></import-attribute-flow>
      <provisioning type="scripted"/><mv-deletion><mv-deletion-rule mv-object-type="person" type="declared-any"><src-ma>{${agent}}</src-ma></mv-deletion-rule></mv-deletion>`);
  const files = (
    mv: string,
    more = join + projection + filter + exports + cleanup,
  ): readonly ExportFile[] => [
    file("MV.XML", mv),
    file("MA-1.XML", connectorXml({ id: agent, name: "HR", more })),
    file("MA-2.XML", connectorXml({ id: other, name: "AD" })),
  ];
  const one = metaverse(
    flows("mail", "ranked", importFlow(agent, direct("mail")), importFlow(other, direct("mail"))),
    flows("cn", "ranked", importFlow(agent, "<dn-part-mapping><dn-part>1</dn-part></dn-part-mapping>")),
    flows(
      "mailEnabled",
      "ranked",
      importFlow(agent, "<constant-mapping><constant-value>True</constant-value></constant-mapping>"),
    ),
  );

  test("imports, joins, projection and exports of one connector become rules again", () => {
    const { rules } = readAgain(files(one));
    expect(rules).toMatchObject([
      { name: "In from AD - user person", linkType: "join", precedence: 101, flows: [{ target: "mail" }] },
      {
        name: "In from HR - user person",
        linkType: "provision",
        precedence: 100,
        join: [[{ connectorAttribute: "mail", metaverseAttribute: "mail" }]],
        flows: [
          { target: "mail", source: "mail" },
          { target: "cn", expression: "DNComponent(CRef([dn]), 1)" },
          { target: "mailEnabled", value: "True" },
        ],
      },
      {
        name: "Out to HR - user person",
        linkType: "join",
        enabled: false,
        flows: [
          {
            target: "displayName",
            expression: "IIF(IsPresent([displayName]), [displayName], IgnoreThisFlow)",
          },
          { target: "mail", kind: "direct" },
          { target: "adminDescription", kind: "extension", flowRuleName: "Stamp" },
        ],
      },
    ]);
  });

  test("connector filter, deprovisioning, deletion rule and extensions are configuration", () => {
    const { takeover, decisions } = readAgain(files(one));
    const yaml = (name: string) => parse(takeover.files.find((each) => each.file === name)!.text) as unknown;
    expect(connectorFile.parse(yaml("connectors/HR.yaml"))).toMatchObject({
      filter: [
        [
          { attribute: "adminDescription", operator: "STARTSWITH", value: "User_" },
          { attribute: "mail", operator: "ISNULL" },
        ],
      ],
      deprovision: "delete",
      extension: "HR.ts",
    });
    expect(metaverseFile.parse(yaml("metaverse.yaml"))).toMatchObject({
      extension: "metaverse.ts",
      objectTypes: [{ deletionRule: { anyOf: ["HR"] } }],
    });
    expect(decisions).toContain("A metaverse extension provisions objects");
    expect(decisions).toContain("extensions/HR.ts");
  });

  test("rules get precedences that agree with the ranks; where none do, it is told", () => {
    const opposed = metaverse(
      flows("mail", "ranked", importFlow(other, direct("mail")), importFlow(agent, direct("mail"))),
      flows("cn", "ranked", importFlow(agent, direct("mail")), importFlow(other, direct("mail"))),
      flows("displayName", "equal", importFlow(agent, direct("mail")), importFlow(other, direct("mail"))),
    );
    const { decisions } = readAgain(files(opposed, ""));
    expect(decisions).toMatch(/MIM ranks the contributions to "(cn|mail)" otherwise/);
    expect(decisions).toContain('"displayName": several rules contribute with equal precedence');
    expect(readAgain(files(one)).decisions).not.toContain("otherwise");
  });

  test("compiled synchronisation rules: passed over beside the policy, disabled without it", () => {
    const compiled = metaverse(
      flows(
        "mail",
        "ranked",
        importFlow(
          agent,
          `<sync-rule-mapping mapping-type="expression" sync-rule-id="{D}" initial-flow-only="false" is-existence-test="false"><sync-rule-value><import-flow><src/><dest>mail</dest><fn id="LowerCase"><arg>mail</arg></fn></import-flow></sync-rule-value></sync-rule-mapping>`,
        ),
      ),
    );
    const alone = readAgain(files(compiled, ""));
    expect(alone.rules).toMatchObject([{ enabled: false, flows: [{ expression: "LCase([mail])" }] }]);
    expect(alone.decisions).toContain("do not say which objects the synchronisation rule is for");
    const together = readAgain([...files(compiled, ""), policy(resource(rule))[0]!]);
    expect(together.rules.map(({ name }) => name)).toEqual(["HR people"]);
    expect(reportOf(together.takeover)).toContain("1 flows, joins and projections are the engine's copies");
  });

  test.each([
    ['<provisioning-cleanup type="scripted"/>', "entry point deprovision"],
    [
      '<stay-disconnector><filter-set cd-object-type="user" type="scripted"/></stay-disconnector>',
      "filterForDisconnection",
    ],
    ['<projection><class-mapping type="scripted" cd-object-type="user"/></projection>', "shouldProjectToMV"],
    [join.replace('type="none"', 'type="scripted"'), "resolveJoin"],
    [filter.replace("not-present", "sounds-like"), 'operator "sounds-like"'],
  ])("%s is a decision", (more, decision) =>
    expect(readAgain(files(one, more)).decisions).toContain(decision),
  );
});

describe("MIM's expressions in our language", () => {
  const attributes = { a: "text", n: 3, d: "12/25/2007" };
  test.each([
    ['IIF(Eq(a, "text"), "t-" + a, Null())', "t-text"],
    ["Mid(a, 2, n)", "ext"],
    ["Mid(a, 2, BitAnd(4, n))", ""],
    ["Mid(a, 2, -1)", ""],
    ['DateTimeFormat(d, "yyyy-MM-dd")', "2007-12-25"],
    ['LeftPad(7, 3, "0") + RightPad(RandomNum(1, 10), 3, "0")', "007600"],
    ['Concatenate(UpperCase(a), CRLF(), ReplaceString(a, "t", ""))', "TEXT\r\nex"],
    ["IIF(GreaterThanOrEquals(n, 3), 512, 514)", 512],
    ["IIF(NotEquals(BitAnd(2, n), 2), 1, -2147483646)", -2147483646],
    ["ConvertStringToGuid(Null())", null],
  ])("%s means the same", (mim, expected) => {
    const translation = translateMim(mim);
    if (!translation.ok) throw new Error(translation.message);
    expect(outcome(mim, { attributes }, { language: "mim" })).toEqual(expected);
    expect(outcome(translation.expression, { attributes })).toEqual(expected);
  });

  test("what is not allowed to be NULL leaves the target as it is, and is worked out once", () => {
    const guarded = unlessNull("IIF([n] = 4, [a], NULL)");
    expect(outcome(guarded, { attributes })).toEqual({ $flow: "IgnoreThisFlow" });
    expect(outcome(guarded, { attributes: { ...attributes, n: 4 } })).toBe("text");
    expect(compileExpression(unlessNull("[a]")).ok).toBe(true);
  });
});
