import { execFile } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { ImportError, type ImportOptions } from "../../cli/rulesImport.ts";
import { importRules } from "../../cli/takeOver.ts";
import { adIdentifier, ruleXml, serverConfiguration } from "../fast/support/exports.ts";

const cli = join(import.meta.dirname, "../../cli/vestibule.ts");
let folder: string;

beforeAll(() => {
  vi.spyOn(console, "log").mockImplementation(() => {});
  folder = mkdtempSync(join(tmpdir(), "takeover-"));
  for (const { file, text } of serverConfiguration(ruleXml())) {
    mkdirSync(dirname(join(folder, "export", file)), { recursive: true });
    // PowerShell on Windows writes UTF-16 with a byte order mark.
    writeFileSync(join(folder, "export", file), `\uFEFF${text}`, "utf16le");
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

function rulesImport(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [cli, "rules", "import", ...args],
      { cwd: folder, env: { PATH: process.env.PATH, NO_COLOR: "1" } },
      (error, out, err) => resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    );
  });
}

describe("vestibule rules import", () => {
  test("writes the configuration and the report", async () => {
    const first = await rulesImport("export", "--out", "new", "--report", "report.md");
    expect(first).toMatchObject({ code: 0, err: "" });
    expect(first.out).toBe("1 rules, 1 connectors in new. 0 decisions are needed: report.md\n");
    expect(readdirSync(join(folder, "new"), { recursive: true }).sort()).toEqual([
      "connectors",
      "connectors/contoso-com.yaml",
      "metaverse.yaml",
      "rules",
      "rules/In-from-AD-User-Test.yaml",
    ]);
    expect(readFileSync(join(folder, "report.md"), "utf8")).toContain("# Taking over rules");
  });

  test("says what is wrong in one line, without a stack", async () => {
    writeFileSync(join(folder, "broken.xml"), "<a>\n <b></a>");
    const broken = await rulesImport("broken.xml", "--connector", "a=A", "--connector", "b=B");
    expect(broken).toEqual({
      code: 1,
      out: "",
      err: "broken.xml:2:9 This is not well-formed XML: Unexpected close tag.\n",
    });
  });

  const importHere = (path: string, more: Partial<ImportOptions> = {}) =>
    importRules(join(folder, path), { out: join(folder, "other"), connector: new Map(), ...more });

  test("writes over nothing that is there, unless it is told to", () => {
    const connector = new Map([[`{${adIdentifier.toUpperCase()}}`, "ADMA"]]);
    importHere("export", { connector });
    const rule = join(folder, "other/rules/In-from-AD-User-Test.yaml");
    expect(readFileSync(rule, "utf8")).toContain("connector: ADMA");
    expect(() => importHere("export")).toThrow(
      /is there already, and 2 more\. Name another folder with --out/,
    );
    importHere("export", { force: true });
    expect(readFileSync(rule, "utf8")).toContain("connector: contoso-com");
  });

  test("what cannot be read is told; links are not followed", () => {
    writeFileSync(join(folder, "latin.ps1"), Uint8Array.of(0x27, 0xe4, 0x27));
    writeFileSync(join(folder, "outside.xml"), ruleXml());
    mkdirSync(join(folder, "empty"));
    symlinkSync(join(folder, "outside.xml"), join(folder, "empty/link.xml"));
    for (const [path, message] of [
      ["latin.ps1", "is neither UTF-8 nor UTF-16 with a byte order mark"],
      ["nowhere", "does not exist."],
      ["empty", "There is no export of rules in"],
    ] as const) {
      expect(() => importHere(path)).toThrow(ImportError);
      expect(() => importHere(path)).toThrow(message);
    }
  });
});
