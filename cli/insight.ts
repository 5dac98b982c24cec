/** `preview` and the other commands that tell why, over the API. */
import type { Command } from "commander";
import type { Api, Page, Run } from "./api.ts";
import {
  type AuditEntry,
  describeAudit,
  describeHistory,
  describeHold,
  describeHolds,
  describeOrphans,
  type HistoryEntry,
  type Hold,
  type Orphan,
} from "./describeHistory.ts";
import { describePreview, type Preview } from "./describePreview.ts";
import { describeRulesDiff, type RulesDiff } from "./describeRulesDiff.ts";
import { followRun } from "./followRun.ts";
import { wentWell } from "./print.ts";
import { readRuleFolder } from "./ruleFolder.ts";

/** What the command line gives its parts. */
export interface Terminal {
  openApi(): Api;
  show<Answer>(answer: Answer, describe: (answer: Answer) => string): void;
  showPage<Item extends object>(page: Page<Item>, describe: (items: readonly Item[]) => string): void;
  withPaging(command: Command): Command;
}

interface EffectOptions {
  readonly connector?: string;
  readonly change?: string;
  readonly limit?: string;
  readonly continuation?: string;
}

export function addInsight(program: Command, terminal: Terminal): void {
  addPreview(program, terminal);
  addRulesDiff(program, terminal);
  addHolds(program, terminal);
  addHistory(program, terminal);
}

function addPreview(program: Command, { openApi, show }: Terminal): void {
  program
    .command("preview <connector> <anchor>")
    .description("what synchronising an object would do, and why; nothing is written")
    .option("--delta", "as a delta synchronisation: only what is pending")
    .option("--rules <folder>", "with the rules of this folder instead of the active ones")
    .option("--all", "show attributes that stay as they are too")
    .action(
      async (
        connector: string,
        anchor: string,
        options: { readonly delta?: boolean; readonly rules?: string; readonly all?: boolean },
      ) => {
        const preview = await openApi().post<Preview>("/preview", {
          connector,
          anchor,
          kind: options.delta === true ? "delta" : "full",
          ...(options.rules === undefined ? {} : { rules: readRuleFolder(options.rules) }),
        });
        show(preview, (answer) => describePreview(answer, options.all));
      },
    );
}

/** `rules diff` and `rules effects`, beside what else there is for rules. */
function addRulesDiff(program: Command, { openApi, show, withPaging }: Terminal): void {
  const rules = program.commands.find((command) => command.name() === "rules") ?? program.command("rules");
  const effectsOf = async (api: Api, runId: string, query: EffectOptions) =>
    show(
      await api.get<RulesDiff>(`/rules/diff/${encodeURIComponent(runId)}`, { ...query }),
      describeRulesDiff,
    );
  const withEffects = (command: Command) =>
    withPaging(command)
      .option("--connector <name>", "only objects of this connector")
      .option("--change <kind>", "only changes of this kind, such as delete; with --connector");

  withEffects(rules.command("diff"))
    .description(
      "what changed rules would do to everybody, compared with the active ones; nothing is written",
    )
    .requiredOption("--against <folder>", "the folder that holds the changed rules")
    .action(async ({ against, ...query }: EffectOptions & { readonly against: string }) => {
      const api = openApi();
      const { id } = await api.post<Run>("/rules/diff", { rules: readRuleFolder(against) });
      const ended = await followRun(api, id, {
        // Standard output holds the answer and nothing else.
        out: process.stderr,
        isTerminal: process.stderr.isTTY === true,
      });
      await effectsOf(api, id, query);
      if (!wentWell(ended.status)) process.exitCode = 1;
    });
  withEffects(rules.command("effects <run>"))
    .description("what an earlier comparison of rules has found")
    .action((runId: string, query: EffectOptions) => effectsOf(openApi(), runId, query));
}

function addHolds(program: Command, { openApi, show, showPage }: Terminal): void {
  const pathOf = (id: string) => `/metaverse/${encodeURIComponent(id)}/hold`;
  program
    .command("hold <metaverseId>")
    .description("put a person on hold: nothing is exported for it")
    .requiredOption("--why <text>", "why, for whoever meets it later")
    .option("--until <time>", "ends by itself then: ISO 8601, such as 2026-03-01T00:00:00Z")
    .action(async (id: string, options: { readonly why: string; readonly until?: string }) =>
      show(await openApi().post<Hold>(pathOf(id), options), describeHold),
    );
  program
    .command("release <metaverseId>")
    .description("end a hold; what is pending goes with the next export")
    .option("--why <text>", "why")
    .action(async (id: string, options: { readonly why?: string }) =>
      show(await openApi().delete<object>(pathOf(id), options), () => `${id} is released.`),
    );
  program
    .command("holds")
    .description("who is on hold")
    .action(async () => showPage(await openApi().get<Page<Hold>>("/holds"), describeHolds));
}

interface PageOptions {
  readonly limit?: string;
  readonly continuation?: string;
}

function addHistory(program: Command, { openApi, showPage, withPaging }: Terminal): void {
  withPaging(program.command("orphans <connector>"))
    .description("accounts that belong to nobody")
    .action(async (connector: string, query: PageOptions) =>
      showPage(
        await openApi().get<Page<Orphan>>(`/connectors/${encodeURIComponent(connector)}/orphans`, {
          ...query,
        }),
        describeOrphans,
      ),
    );
  withPaging(program.command("history <metaverseId>"))
    .description("what has happened to a person, newest first")
    .action(async (id: string, query: PageOptions) =>
      showPage(
        await openApi().get<Page<HistoryEntry>>(`/metaverse/${encodeURIComponent(id)}/history`, { ...query }),
        describeHistory,
      ),
    );
  withPaging(program.command("audit"))
    .description("who did what, when and why, newest first")
    .action(async (query: PageOptions) =>
      showPage(await openApi().get<Page<AuditEntry>>("/audit", { ...query }), describeAudit),
    );
}
