import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { connectorKinds } from "../../src/connectors.ts";
import {
  checkConfiguration,
  type ReadSchema,
  renderConfigurationProblem,
} from "../../src/engine/configuration/checkConfiguration.ts";
import { configurationFiles } from "../../src/engine/configuration/loadConfiguration.ts";
import type { ConfigurationFile } from "../../src/engine/core/configuration.ts";
import { ConnectorError, type ObjectTypeSchema } from "../../src/engine/ports/connector.ts";
import { anyKinds, recipeSettings } from "../fast/support/guestWorld.ts";

const files = configurationFiles("config");

/** The recipe with texts replaced: `"rules/AAD-B2B-IN.yaml": [from, to]`. */
function changed(changes: Record<string, readonly [string, string]>): readonly ConfigurationFile[] {
  return files.map(({ file, text }) => {
    const change = changes[file.slice("config/".length)];
    if (change === undefined) return { file, text };
    if (!text.includes(change[0])) throw new Error(`${file} does not hold ${change[0]}`);
    return { file, text: text.replace(...change) };
  });
}

/** What the check prints of the recipe with a flow more at the end of one rule. */
async function printed(flow: string, rule = "AAD-B2B-IN"): Promise<string[]> {
  const more = files.map(({ file, text }) =>
    file.endsWith(`${rule}.yaml`) ? { file, text: `${text}${flow}\n` } : { file, text },
  );
  const { errors, warnings } = await checkConfiguration(more, recipeSettings, connectorKinds);
  return [
    ...errors.map((problem) => renderConfigurationProblem("error", problem, more)),
    ...warnings.map((problem) => renderConfigurationProblem("warning", problem, more)),
  ];
}
const lines = (...text: string[]) => [text.join("\n")];

describe("what is wrong is told with its line, a caret and a suggestion", () => {
  test("an unknown function", async () => {
    expect(await printed("  - { target: accountInfo, expression: 'Lft([mail], 3)' }")).toEqual(
      lines(
        'config/rules/AAD-B2B-IN.yaml:33:41 error unknown-function: In the expression for "accountInfo": There is no function Lft.',
        "    - { target: accountInfo, expression: 'Lft([mail], 3)' }",
        "                                          ^^^",
        "  Suggestion: Left",
      ),
    );
  });
  test("a wrong case, inside a folded text", async () => {
    const flow =
      "  - target: accountInfo\n    expression: >-\n      IIF(IsPresent([mail]),\n      \n      trim([mail]), NULL)";
    expect(await printed(flow)).toEqual(
      lines(
        'config/rules/AAD-B2B-IN.yaml:37:7 error wrong-case: In the expression for "accountInfo": The function is spelled Trim.',
        "        trim([mail]), NULL)",
        "        ^^^^",
        "  Suggestion: Trim",
      ),
    );
  });
  test.each([
    ["an unknown attribute, of the Graph schema", '"[mial]"', /unknown-attribute[\s\S]*\[mail\]/],
    ["the wrong number of arguments", '"Left([mail])"', /wrong-argument-count[\s\S]*str Left\(str/],
    ["the wrong type, as the Graph schema has it", "'Left([accountEnabled], 1)'", /type-mismatch[\s\S]*CStr/],
    [
      "mixed operators",
      '\'IIF([mail] = "" || [id] = "" && [id] = "", "a", "b")\'',
      /warning mixed-operators/,
    ],
    ["an unknown parameter", "'%GestOU%'", /unknown-parameter[\s\S]*%GuestOU%/],
  ])("%s", async (_what, expression, expected) => {
    const found = await printed(`  - { target: accountInfo, expression: ${expression} }`);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(expected);
  });
  test("the caret stands under the place, whatever escapes come before it", async () => {
    const places = [
      "'\"it''s\" & Lft([id], 1)'",
      '"\\"it is\\" & Lft([id], 1)"',
      '|-\n      "it is" &\n      Lft([id], 1)',
      "Trim([mail]) &\n      Lft([id], 1)",
    ];
    for (const place of places) {
      const [problem] = await printed(`  - target: accountInfo\n    expression: ${place}`);
      const [, line, caret] = problem!.split("\n") as [string, string, string];
      expect(line.slice(caret.indexOf("^"), caret.lastIndexOf("^") + 1)).toBe("Lft");
    }
  });
  test("a flow into a read-only attribute, a missing one, and several values into one", async () => {
    const graphOut = "  - { target: accountInfo, source: otherMails }";
    const selecting = changed({
      "connectors/AADMA.yaml": ["      - mail", "      - mail\n      - otherMails"],
    }).map(({ file, text }) => ({
      file,
      text: file.endsWith("AAD-B2B-IN.yaml") ? `${text}${graphOut}\n` : text,
    }));
    const { errors, warnings } = await checkConfiguration(selecting, recipeSettings, connectorKinds);
    expect(errors).toEqual([]);
    expect(warnings).toMatchObject([{ code: "target-single-valued", line: 33, column: 36 }]);
    expect(await printed("  - { target: mial, source: email }", "AD-B2B-OUT")).toEqual([
      expect.stringMatching(/unknown-attribute[\s\S]*Did you mean "mail"/),
    ]);
  });
  test("a rule that would fall due by the clock, and a condition that no object can meet", async () => {
    expect(
      await printed("  - { target: accountInfo, expression: 'FormatDateTime(Now(), \"yyyy\")' }"),
    ).toEqual([expect.stringContaining("warning depends-on-the-clock")]);
    const { errors } = await checkConfiguration(
      changed({
        "rules/AAD-B2B-IN.yaml": [
          "attribute: userType, operator: EQUAL, value: Guest",
          "attribute: accountEnabled, operator: EQUAL, value: Yes",
        ],
      }),
      recipeSettings,
      connectorKinds,
    );
    expect(errors).toMatchObject([{ code: "scope-value-type", remedy: "Write True or False." }]);
  });
  test("an attribute that Graph does not have, at its place in the connector", async () => {
    const files = changed({ "connectors/AADMA.yaml": ["- surname", "- surnam"] });
    const { errors } = await checkConfiguration(files, recipeSettings, connectorKinds);
    const { text } = files.find(({ file }) => file === "config/connectors/AADMA.yaml")!;
    const line = text.split("\n").findIndex((one) => one.endsWith("- surnam")) + 1;
    expect(errors[0]).toMatchObject({ file: "config/connectors/AADMA.yaml", line, length: 6 });
    expect(errors[0]!.message).toContain('Did you mean "surname"?');
  });
  test("a filter on what is not selected, and with it the expressions that are wrong in any case", async () => {
    const { errors } = await checkConfiguration(
      changed({
        "connectors/AADMA.yaml": [
          "onAbsence:",
          "filter: [[{ attribute: male, operator: ISNULL }]]\nonAbsence:",
        ],
        "rules/AAD-B2B-IN.yaml": ["Left([id], 20)", "Lft([id], 20)"],
      }),
      recipeSettings,
      connectorKinds,
    );
    expect(errors.map(({ message }) => message)).toEqual([
      '"male" is not a selected attribute.',
      'In the expression for "accountName": There is no function Lft.',
    ]);
  });
});

describe("settings and directories", () => {
  test("settings that are not set here leave the rest to be checked", async () => {
    const checked = await checkConfiguration(files, {}, connectorKinds);
    expect(checked).toMatchObject({ errors: [], warnings: [] });
    expect(checked.unset).toEqual(["AD_BASE_DN", "AD_BIND_DN", "AD_BIND_PASSWORD", "AD_URL", "GUEST_OU"]);
    expect([...checked.typed.keys()]).toEqual(["AADMA"]);
    const set = await checkConfiguration(files, { ...recipeSettings, AD_URL: "ldap://dc" }, connectorKinds);
    expect(set.errors).toMatchObject([
      { file: "config/connectors/ADMA.yaml", message: /AD_URL must be ldaps/ },
    ]);
  });

  const live: ReadSchema = async ({ name, objectTypes }) =>
    objectTypes.map(
      (type): ObjectTypeSchema => ({
        name: type.name,
        attributes: new Map(
          type.attributes.map((attribute) => [
            attribute,
            {
              name: attribute,
              type:
                attribute === "userAccountControl"
                  ? "integer"
                  : attribute === "accountEnabled"
                    ? "boolean"
                    : /^object(Sid|GUID)$/.test(attribute)
                      ? "binary"
                      : "string",
              multiValued: name === "ADMA" && attribute === "info",
              readOnly: attribute === "mail",
            } as const,
          ]),
        ),
      }),
    );
  test("asked live, a directory's own schema decides", async () => {
    const { errors, warnings, typed } = await checkConfiguration(files, recipeSettings, anyKinds, live);
    expect([...typed.keys()]).toEqual(["AADMA", "ADMA"]);
    expect(warnings).toMatchObject([{ file: "config/rules/AD-B2B-IN.yaml", code: "target-single-valued" }]);
    expect(errors).toMatchObject([{ file: "config/rules/AD-B2B-OUT.yaml", code: "target-read-only" }]);
  });
  test("a directory that does not answer is told, and a setting that is not set too", async () => {
    const refusing: ReadSchema = async (connector) => {
      if (connector.name === "ADMA") throw new ConnectorError("unreachable", "No connection to dc1.");
      return live(connector);
    };
    expect((await checkConfiguration(files, recipeSettings, anyKinds, refusing)).errors).toMatchObject([
      { file: "config/connectors/ADMA.yaml", code: "unreachable", message: "No connection to dc1." },
    ]);
    expect((await checkConfiguration(files, {}, anyKinds, live)).errors[0]).toMatchObject({
      message: "The setting AD_URL is not set.",
    });
  });
});

describe("npm run rules check", () => {
  const empty = mkdtempSync(join(tmpdir(), "rules-"));
  afterAll(() => rmSync(empty, { recursive: true }));
  const check = (...parameters: string[]) =>
    spawnSync(process.execPath, ["scripts/checkRules.ts", ...parameters], { encoding: "utf8", env: {} });

  test("says what was checked, and ends with 1 for errors and 2 for wrong arguments", () => {
    const healthy = check("check");
    expect(healthy).toMatchObject({ status: 0, stderr: "" });
    expect(healthy.stdout).toContain("0 errors, 0 warnings.\nChecked: 3 enabled rules");
    expect(check("check", "--config", empty)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("There is no connector."),
    });
    expect(check("chck").status).toBe(2);
  });
});
