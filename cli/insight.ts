/** `preview` and the other commands that tell why, over the API. */
import type { Command } from "commander";
import type { Api, Page } from "./api.ts";
import { describePreview, type Preview } from "./describePreview.ts";
import { readRuleFolder } from "./ruleFolder.ts";

/** What the command line gives its parts. */
export interface Terminal {
  openApi(): Api;
  show<Answer>(answer: Answer, describe: (answer: Answer) => string): void;
  showPage<Item extends object>(page: Page<Item>, describe: (items: readonly Item[]) => string): void;
  withPaging(command: Command): Command;
}

export function addInsight(program: Command, { openApi, show }: Terminal): void {
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
