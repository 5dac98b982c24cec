/** `rules versions`, `rules activate` and the editing of rules, over the API. */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import type { Command } from "commander";
import type { Page } from "./api.ts";
import type { Terminal } from "./insight.ts";
import { instant, textTable } from "./print.ts";

interface Version {
  readonly version: number;
  readonly state: string;
  readonly author: string;
  readonly createdAt: string;
  readonly why: string;
  readonly counts: {
    readonly rules: number;
    readonly added: number;
    readonly changed: number;
    readonly deleted: number;
  };
  readonly reasons: readonly string[];
  readonly activatedAt: string | null;
  readonly activatedBy: string | null;
  readonly activatedWhy: string | null;
}
interface Activated extends Version {
  readonly fullSynchronizationRequired: readonly string[];
}
interface Rules {
  readonly message: string;
  readonly items: readonly {
    readonly name: string;
    readonly file: string;
    readonly editedBy?: string;
    readonly editedAt?: string;
    readonly why?: string;
  }[];
}
interface StagedRule {
  readonly name: string;
  readonly problems: readonly {
    readonly file: string;
    readonly line: number;
    readonly column: number;
    readonly message: string;
    readonly remedy: string;
  }[];
}

const part = encodeURIComponent;
const nextCycle = "The next cycle takes it up: checked with the whole set, and activated with it.";

export function addRuleVersions(program: Command, { openApi, show, showPage, withPaging }: Terminal): void {
  const rules = program.commands.find((command) => command.name() === "rules") ?? program.command("rules");

  rules
    .command("list")
    .description("the rules as the next cycle sees them, and which version is active")
    .action(async () => show(await openApi().get<Rules>("/rules"), describeRules));
  withPaging(rules.command("versions"))
    .description("the versions of the rules, newest first")
    .action(async (options: { readonly limit?: string; readonly continuation?: string }) =>
      showPage(await openApi().get<Page<Version>>("/rules/versions", { ...options }), describeVersions),
    );
  rules
    .command("activate <version>")
    .description("approve a version that waits, or roll back to an earlier one")
    .requiredOption("--why <text>", "why; kept with the version and in the audit")
    .action(async (version: string, { why }: { readonly why: string }) =>
      show(await openApi().post<Activated>(`/rules/versions/${part(version)}/activate`, { why }), (answer) =>
        [
          `Version ${answer.version} of the rules is active.`,
          answer.fullSynchronizationRequired.length === 0
            ? "Nothing has to be synchronised anew."
            : `The next cycle synchronises ${answer.fullSynchronizationRequired.join(", ")} in full.`,
        ].join("\n"),
      ),
    );
  rules
    .command("edit <file>")
    .description("put a rule in the place of its file until that file changes: YAML, as in config/rules")
    .requiredOption("--why <text>", "why; kept with the version and in the audit")
    .option("--name <name>", "the rule's name, when the file is called otherwise")
    .action(async (file: string, { why, name }: { readonly why: string; readonly name?: string }) => {
      const text = readFileSync(file, "utf8");
      const rule =
        name ?? /^name:[ \t]*["']?([^"'\r\n#]+)/m.exec(text)?.[1]?.trim() ?? basename(file, ".yaml");
      show(await openApi().put<StagedRule>(`/rules/${part(rule)}`, { text, why }), describeStaged);
    });
  rules
    .command("delete <rule>")
    .description("delete a rule until its file changes")
    .requiredOption("--why <text>", "why; kept with the version and in the audit")
    .action(async (rule: string, { why }: { readonly why: string }) =>
      show(
        await openApi().delete<Rules>(`/rules/${part(rule)}?why=${part(why)}`),
        () => `Rule ${rule} is deleted. ${nextCycle}`,
      ),
    );
}

function describeRules({ message, items }: Rules): string {
  const rows = items.map(({ name, file, editedBy, editedAt, why }) => [
    name,
    file,
    editedBy === undefined ? "" : `${editedBy}, ${instant(editedAt!)}: ${why}`,
  ]);
  return `${message}\n${textTable(["Rule", "From", "Edited"], rows)}`;
}

function describeVersions(versions: readonly Version[]): string {
  if (versions.length === 0) return "No version yet: the first run activates one.";
  const rows = versions.map((one) => [
    String(one.version),
    one.state,
    `${instant(one.createdAt)} ${one.author}`,
    `${one.counts.rules} (+${one.counts.added} ~${one.counts.changed} -${one.counts.deleted})`,
    [one.why, ...one.reasons, one.activatedWhy ?? ""]
      .filter((text, at, all) => text !== "" && all.indexOf(text) === at)
      .join(" "),
  ]);
  return textTable(["Version", "State", "Made", "Rules", "Why"], rows);
}

function describeStaged({ name, problems }: StagedRule): string {
  if (problems.length === 0) return `Rule ${name} is staged. ${nextCycle}`;
  return [
    `Rule ${name} is staged, but the set does not check; it would be refused whole:`,
    ...problems.map(
      ({ file, line, column, message, remedy }) => `  ${file}:${line}:${column} ${message} ${remedy}`,
    ),
  ].join("\n");
}
