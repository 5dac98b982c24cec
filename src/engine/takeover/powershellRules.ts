/**
 * `New-ADSyncRule` scripts: what the Rules Editor exports, what ConfigDocumenter writes and what people make of both.
 * What only a running script would know (`$Connector[1].Identifier`) becomes a question with its place.
 */
import {
  type ExportedCondition,
  type ExportedFlow,
  type ExportedJoinCondition,
  type ExportedRule,
  guid,
  noExpiry,
  zeroGuid,
} from "./exportedRule.ts";
import type { Place } from "./findings.ts";
import { type Command, readScriptCommands, type ScriptedDraft, type Value } from "./powershellScript.ts";

export interface ScriptedRule {
  readonly rule: ExportedRule;
  readonly place: Place;
  /** What only a running script would know, and what else has to be asked. */
  readonly questions: readonly Question[];
  readonly remarks: readonly Question[];
}
interface Question {
  readonly message: string;
  readonly place: Place;
}

/** @throws TakeoverError for a script whose strings, comments or brackets have no end */
export function readScript(file: string, source: string): readonly ScriptedRule[] {
  const { drafts, undoubledQuotes } = readScriptCommands(file, source);
  return drafts.map((draft, index) => {
    const { place } = draft.command;
    const end = drafts[index + 1]?.command.place.line ?? Number.POSITIVE_INFINITY;
    const remarks = undoubledQuotes
      .filter(({ line }) => line >= place.line && line < end)
      .map((quote) => ({
        message:
          "A quote inside the string is not doubled (ConfigDocumenter writes so); it was taken for part of it.",
        place: quote,
      }));
    const reader = new DraftReader(draft);
    return { rule: reader.rule(), place, questions: reader.questions, remarks };
  });
}

class DraftReader {
  readonly questions: Question[] = [];
  readonly #draft: ScriptedDraft;

  constructor(draft: ScriptedDraft) {
    this.#draft = draft;
  }

  rule(): ExportedRule {
    const splat = this.#draft.command.parameters.get("@");
    if (splat !== undefined)
      this.#ask(`${sourceOf(splat.value)} is known only when the script runs.`, splat.place);
    if (this.#draft.inBlock)
      this.#ask(
        "The rule is made inside a block that may run, or run several times, or not at all.",
        this.#draft.command.place,
      );
    if (!this.#draft.added)
      this.#ask("The script makes the rule but never adds it (Add-ADSyncRule).", this.#draft.command.place);
    const { command } = this.#draft;
    const text = (name: string) => this.#text(command, name);
    const required = (name: string): string => {
      const value = text(name);
      if (value === null && !command.parameters.has(name)) this.#ask(`-${name} is missing.`, command.place);
      return value?.trim() || "unknown";
    };
    const precedence = text("precedence");
    const number = precedence !== null && /^\d+$/.test(precedence.trim()) ? Number(precedence) : null;
    const identifier = text("identifier");
    const expiry = text("softdeleteexpiryinterval") ?? "0";
    return {
      identifier: identifier === null ? null : guid(identifier),
      internalIdentifier: identifier === null ? null : guid(identifier),
      version: null,
      name: required("name"),
      description: text("description") ?? "",
      immutableTag: text("immutabletag") ?? "",
      direction: required("direction"),
      disabled: isOn(command, "disabled"),
      connector: guid(required("connector")),
      sourceObjectType: required("sourceobjecttype"),
      targetObjectType: required("targetobjecttype"),
      linkType: required("linktype"),
      precedence: number,
      precedenceAfter: guid(text("precedenceafter") ?? "") || zeroGuid,
      precedenceBefore: guid(text("precedencebefore") ?? "") || zeroGuid,
      softDeleteExpiryInterval: expiry === "0" ? noExpiry : expiry,
      passwordSync: isOn(command, "enablepasswordsync"),
      scope: this.#draft.scope.map((group) => this.#scopeGroup(group)),
      join: this.#draft.join.map((group) => this.#joinGroup(group)),
      flows: this.#draft.flows.map((flow) => this.#flow(flow)),
    };
  }

  #flow(command: Command): ExportedFlow {
    const text = (name: string) => this.#text(command, name);
    const source = command.parameters.get("source");
    const items =
      source === undefined ? [] : source.value.kind === "list" ? source.value.items : [source.value];
    const sources = items.map((item) => {
      const name = plainText(item);
      if (name === null)
        this.#ask(`-source: ${sourceOf(item)} is known only when the script runs.`, source!.place);
      return name ?? "unknown";
    });
    const expression = text("expression");
    const stated = text("flowtype")?.toLowerCase();
    const flowType =
      stated === "constant"
        ? "Constant"
        : stated === "expression" || expression !== null
          ? "Expression"
          : "Direct";
    return {
      destination: text("destination") ?? "unknown",
      flowType,
      sources: flowType === "Constant" ? [] : sources,
      constant: flowType === "Constant" ? (sources[0] ?? "") : null,
      expression: flowType === "Expression" ? (expression ?? "") : null,
      executeOnce: isOn(command, "executeonce"),
      mergeType: text("valuemergetype") ?? "Update",
    };
  }

  /** The conditions of a group, each as the texts it was made of. */
  #conditions(command: Command, name: string): readonly (readonly string[])[] {
    const argument = command.parameters.get(name);
    if (argument === undefined) return [];
    const items = argument.value.kind === "list" ? argument.value.items : [argument.value];
    return items.flatMap((item) => {
      const condition = item.kind === "list" ? item.items[0] : item;
      if (condition?.kind !== "condition") {
        this.#ask(
          `-${name}: ${sourceOf(item)} is known only when the script runs; this condition is missing here.`,
          argument.place,
        );
        return [];
      }
      return [
        condition.values.map((value) => {
          const text = plainText(value);
          if (text === null)
            this.#ask(`-${name}: ${sourceOf(value)} is known only when the script runs.`, argument.place);
          return text ?? "unknown";
        }),
      ];
    });
  }

  /** The order of a scope condition's arguments is attribute, value, operator. */
  #scopeGroup(command: Command): ExportedCondition[] {
    return this.#conditions(command, "scopeconditions").map(([attribute, value, operator]) => ({
      attribute: attribute ?? "unknown",
      operator: operator ?? "unknown",
      value: value === undefined || value === "" ? null : value,
    }));
  }

  #joinGroup(command: Command): ExportedJoinCondition[] {
    return this.#conditions(command, "joinconditions").map(([csAttribute, mvAttribute, caseSensitive]) => ({
      csAttribute: csAttribute ?? "unknown",
      mvAttribute: mvAttribute ?? "unknown",
      caseSensitive: caseSensitive?.toLowerCase() === "true",
    }));
  }

  /** The parameter as text; null, with a question where it is there but not known. */
  #text(command: Command, name: string): string | null {
    const argument = command.parameters.get(name);
    if (argument === undefined) return null;
    const text = plainText(argument.value);
    if (text === null)
      this.#ask(`-${name}: ${sourceOf(argument.value)} is known only when the script runs.`, argument.place);
    return text;
  }

  #ask(message: string, place: Place): void {
    this.questions.push({ message, place });
  }
}

function sourceOf(value: Value): string {
  return value.kind === "unknown" ? value.source : `a ${value.kind}`;
}

function plainText(value: Value): string | null {
  if (value.kind === "text") return value.text;
  if (value.kind === "boolean") return value.value ? "True" : "False";
  if (value.kind === "list" && value.items.length === 1) return plainText(value.items[0]!);
  return null;
}

function isOn(command: Command, name: string): boolean {
  const value = command.parameters.get(name)?.value;
  return value !== undefined && !(value.kind === "boolean" && !value.value);
}
