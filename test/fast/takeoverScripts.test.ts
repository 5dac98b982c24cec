import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readRuleTexts } from "../../src/engine/core/readRules.ts";
import { exportedFrom } from "../../src/engine/takeover/exportedRule.ts";
import { TakeoverError } from "../../src/engine/takeover/findings.ts";
import { readScript } from "../../src/engine/takeover/powershellRules.ts";
import { takeOver } from "../../src/engine/takeover/takeover.ts";
import { adIdentifier, file } from "./support/exports.ts";

/** What the Rules Editor writes. */
const exported = `New-ADSyncRule  \`
-Name 'In from AD - User ''Special''' \`
-Identifier 'AAAAAAAA-0000-0000-0000-000000000001' \`
-Description 'Two
lines' \`
-Direction 'Inbound' \`
-Precedence 50 \`
-PrecedenceAfter '00000000-0000-0000-0000-000000000000' \`
-PrecedenceBefore '00000000-0000-0000-0000-000000000000' \`
-SourceObjectType 'user' \`
-TargetObjectType 'person' \`
-Connector '${adIdentifier}' \`
-LinkType 'Join' \`
-SoftDeleteExpiryInterval 0 \`
-ImmutableTag '' \`
-EnablePasswordSync \`
-Disabled  \`
-OutVariable syncRule


Add-ADSyncAttributeFlowMapping  \`
-SynchronizationRule $syncRule[0] \`
-Source @('mail','cn') \`
-Destination 'mail' \`
-FlowType 'Expression' \`
-ValueMergeType 'MergeCaseInsensitive' \`
-ExecuteOnce \`
-Expression 'IIF([cn] = "it''s", [mail],
  NULL)' \`
-OutVariable syncRule


Add-ADSyncAttributeFlowMapping  \`
-SynchronizationRule $syncRule[0] \`
-Source @('True') \`
-Destination 'mailEnabled' \`
-FlowType 'Constant' \`
-ValueMergeType 'Update' \`
-OutVariable syncRule


New-Object  \`
-TypeName 'Microsoft.IdentityManagement.PowerShell.ObjectModel.ScopeCondition' \`
-ArgumentList 'isCriticalSystemObject','TRUE','NOTEQUAL' \`
-OutVariable condition0


New-Object  \`
-TypeName 'Microsoft.IdentityManagement.PowerShell.ObjectModel.ScopeCondition' \`
-ArgumentList 'mail','','ISNOTNULL' \`
-OutVariable condition1


Add-ADSyncScopeConditionGroup  \`
-SynchronizationRule $syncRule[0] \`
-ScopeConditions @($condition0[0],$condition1[0]) \`
-OutVariable syncRule


New-Object  \`
-TypeName 'Microsoft.IdentityManagement.PowerShell.ObjectModel.JoinCondition' \`
-ArgumentList 'objectSid','objectSid',$true \`
-OutVariable condition0


Add-ADSyncJoinConditionGroup  \`
-SynchronizationRule $syncRule[0] \`
-JoinConditions @($condition0[0]) \`
-OutVariable syncRule


Add-ADSyncRule  \`
-SynchronizationRule $syncRule[0]


Get-ADSyncRule  \`
-Identifier 'AAAAAAAA-0000-0000-0000-000000000001'
`;

const minimal = (more: string, before = "") => `${before}
New-ADSyncRule -Name 'R' -Direction Inbound -Connector '${adIdentifier}' -SourceObjectType user -TargetObjectType person -LinkType Join ${more} -OutVariable r
Add-ADSyncRule -SynchronizationRule $r[0]`;

describe("what the Rules Editor exports", () => {
  const [read] = readScript("rules.ps1", exported);

  test("is read with every field", () => {
    expect(read!.questions).toEqual([]);
    expect(read!.rule).toEqual({
      identifier: "aaaaaaaa-0000-0000-0000-000000000001",
      internalIdentifier: "aaaaaaaa-0000-0000-0000-000000000001",
      version: null,
      name: "In from AD - User 'Special'",
      description: "Two\nlines",
      immutableTag: "",
      direction: "Inbound",
      disabled: true,
      connector: adIdentifier,
      sourceObjectType: "user",
      targetObjectType: "person",
      linkType: "Join",
      precedence: 50,
      precedenceAfter: "00000000-0000-0000-0000-000000000000",
      precedenceBefore: "00000000-0000-0000-0000-000000000000",
      softDeleteExpiryInterval: "00:00:00",
      passwordSync: true,
      scope: [
        [
          { attribute: "isCriticalSystemObject", operator: "NOTEQUAL", value: "TRUE" },
          { attribute: "mail", operator: "ISNOTNULL", value: null },
        ],
      ],
      join: [[{ csAttribute: "objectSid", mvAttribute: "objectSid", caseSensitive: true }]],
      flows: [
        {
          destination: "mail",
          flowType: "Expression",
          sources: ["mail", "cn"],
          constant: null,
          expression: 'IIF([cn] = "it\'s", [mail],\n  NULL)',
          executeOnce: true,
          mergeType: "MergeCaseInsensitive",
        },
        {
          destination: "mailEnabled",
          flowType: "Constant",
          sources: [],
          constant: "True",
          executeOnce: false,
          expression: null,
          mergeType: "Update",
        },
      ],
    });
  });

  test("comes back from what is written", () => {
    const { files } = takeOver([file("rules.ps1", exported)]);
    const [again] = readRuleTexts(files.filter((one) => one.file.startsWith("rules/")));
    expect(exportedFrom(again!)).toEqual(read!.rule);
  });

  test("Windows line ends and comments change nothing", () => {
    const commented = `<# -Name 'x' #>\n# New-ADSyncRule\n${exported}`.replaceAll("\n", "\r\n");
    expect(readScript("rules.ps1", commented).map(({ rule }) => rule)).toEqual([read!.rule]);
  });
});

describe("what people make of it", () => {
  test.each([
    ["a variable with a literal", "-Precedence $p", "$p = 88"],
    ["a typed variable", "-Precedence $p", "[int] $p = 88"],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: PowerShell's
    ["a variable in braces", "-Precedence ${p}", "$p = '88'"],
    ["a text in double quotes", '-Precedence "$p"', "$p = 88 # ours"],
    ["an element of a list", "-Precedence $p[1]", "$p = @(1, 88)"],
    ["a splatted table", "@more", "$more = @{ Precedence = 88\n Disabled = $false }"],
  ])("%s is followed", (_, parameter, before) => {
    const [read] = readScript("x.ps1", minimal(parameter, before));
    expect(read!.questions).toEqual([]);
    expect(read!.rule).toMatchObject({ precedence: 88, disabled: false, name: "R" });
  });

  test.each([
    ["-Precedence $p", "", "-precedence: $p is known only when the script runs.", 2],
    ["-Precedence $p", "$p = Read-Host 'Number'", "-precedence: $p is known only when", 2],
    ["-Precedence ($p + 1)", "$p = 1", "-precedence: ($p + 1) is known only when", 2],
    ["-Precedence (Get-Next)", "", "-precedence:", 2],
    ["-Precedence $Connector[1].Precedence", "", "-precedence: $Connector[1].Precedence is known", 2],
    ['-Precedence "1$(Get-Date)"', "", "-precedence: $(Get-Date) is known only when", 2],
    ["@params", "", "@params is known only when the script runs.", 2],
  ])("%s is a question with its place", (parameter, before, message, line) => {
    const [read] = readScript("x.ps1", minimal(parameter, before));
    expect(read!.rule.precedence).toBeNull();
    const question = read!.questions.find((one) => one.message.includes(message));
    expect(question?.place).toMatchObject({ file: "x.ps1", line });
    expect(question!.place.column).toBeGreaterThan(1);
  });

  test("a rule whose connector is a variable is taken over disabled, and the report asks", () => {
    const script = minimal("-Precedence 1").replace(`'${adIdentifier}'`, "$ad.Identifier.Guid");
    const { rules, findings } = takeOver([file("x.ps1", script)]);
    expect(rules).toMatchObject([{ enabled: false, connector: "connector-unknown" }]);
    expect(findings.map(({ message }) => message).join("\n")).toContain("$ad.Identifier.Guid");
  });

  test("a rule in a block, and one that is never added, are questions", () => {
    const [inBlock] = readScript("x.ps1", `if ($x) {\n${minimal("-Precedence 1")}\n}`);
    expect(inBlock!.questions).toMatchObject([{ message: expect.stringContaining("inside a block") }]);
    const [lost] = readScript("x.ps1", minimal("-Precedence 1").split("\nAdd-ADSyncRule")[0]!);
    expect(lost!.questions).toMatchObject([{ message: expect.stringContaining("never adds it") }]);
  });

  test("pipelines, constructors and assignments are the same commands", () => {
    const [read] = readScript(
      "x.ps1",
      `$join = New-Object -TypeName X.JoinCondition -ArgumentList 'a', 'b', $false
       ${minimal("-Precedence 1")}
       $r[0] | Add-ADSyncJoinConditionGroup -JoinConditions @($join, [X.JoinCondition]::new('c', 'd', $true)) | Out-Null`,
    );
    expect(read!.rule.join).toEqual([
      [
        { csAttribute: "a", mvAttribute: "b", caseSensitive: false },
        { csAttribute: "c", mvAttribute: "d", caseSensitive: true },
      ],
    ]);
  });

  test("a quote that ConfigDocumenter did not double is part of the string, and remarked", () => {
    const [read] = readScript("x.ps1", minimal(`-Precedence 1 -Description 'the "O'Brien" rule'`));
    expect(read!.rule.description).toBe(`the "O'Brien" rule`);
    expect(read!.remarks).toMatchObject([{ place: { line: 2 } }]);
  });

  test("here-strings hold what stands between their lines", () => {
    const [read] = readScript("x.ps1", minimal("-Precedence 1 -Description @'\nit's\ntwo\n'@"));
    expect(read!.rule.description).toBe("it's\ntwo");
  });
});

describe("hostile scripts", () => {
  test.each([
    ["New-ADSyncRule -Name 'abc", "x.ps1:1:22 The string has no closing quote."],
    ['\n  "abc', "x.ps1:2:3 The string has no closing quote."],
    ["<# x", "x.ps1:1:1 The comment <# has no end #>."],
    ["$a = @('b',", "x.ps1:1:6 The bracket is never closed."],
    ["$a = @{ b = ", "The bracket is never closed."],
    ["$a = @'\nabc", "The here-string has no end '@."],
  ])("%j is refused with its place", (script, message) =>
    expect(() => readScript("x.ps1", script)).toThrow(message),
  );

  test("whatever is in a script, reading ends in rules or in an error with a place", () => {
    const piece = fc.constantFrom(
      ..."New-ADSyncRule|Add-ADSyncRule|New-Object|-Name|-Connector|'a'|\"$b\"|$b|$b[0]|@(|@{|(|)|{|}|[|]|,|;|\n|`\n|=|::|.|'|\"|#|<#|#>|@x|$(|42|$true|\\".split(
        "|",
      ),
    );
    fc.assert(
      fc.property(
        fc.array(fc.oneof({ weight: 4, arbitrary: piece }, fc.string({ maxLength: 4 })), { maxLength: 40 }),
        (pieces) => {
          try {
            readScript("x.ps1", pieces.join(" "));
          } catch (error) {
            if (!(error instanceof TakeoverError)) throw error;
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  test.each(["(", "@(", "[", "$a[", "{", "}", "@{a=", "'a',", "$a.b"])(
    "20,000 times %s ends soon",
    (piece) => {
      try {
        readScript("x.ps1", piece.repeat(20_000));
      } catch (error) {
        expect(error).toBeInstanceOf(TakeoverError);
      }
    },
  );
});
