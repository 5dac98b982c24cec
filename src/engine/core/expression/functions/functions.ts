/** The tables of both dialects, and how a name is found in them. */
import { closest } from "../problems.ts";
import type { Language } from "../syntax.ts";
import { certificateFunctions } from "./certificate.ts";
import { conversionFunctions } from "./conversion.ts";
import { dateTimeFunctions } from "./dateTime.ts";
import type { Definition, FunctionTable } from "./define.ts";
import { directoryFunctions } from "./directory.ts";
import { evaluationFunctions } from "./evaluation.ts";
import { mathFunctions } from "./math.ts";
import { mimFunctions } from "./mim.ts";
import { multiValuedFunctions } from "./multiValued.ts";
import { programFlowFunctions } from "./programFlow.ts";
import { textFunctions } from "./text.ts";

export const families: Readonly<Record<string, FunctionTable>> = {
  Certificate: certificateFunctions,
  Conversion: conversionFunctions,
  "Date and time": dateTimeFunctions,
  Directory: directoryFunctions,
  Evaluation: evaluationFunctions,
  Math: mathFunctions,
  "Multi-valued": multiValuedFunctions,
  "Program flow": programFlowFunctions,
  Text: textFunctions,
};

/** Spellings that the reference itself uses beside the headings. */
const otherSpellings: Readonly<Record<string, string>> = { GUID: "Guid", InstrRev: "InStrRev" };

const tables: Readonly<Record<Language, ReadonlyMap<string, Definition>>> = {
  aadc: new Map(Object.values(families).flatMap((family) => Object.entries(family))),
  mim: new Map(Object.entries<Definition>(mimFunctions)),
};

export function functionNamed(name: string, language: Language): Definition | undefined {
  const table = tables[language];
  return table.get(name) ?? (language === "aadc" ? table.get(otherSpellings[name] ?? "") : undefined);
}

/** What other dialects of this family (MIM, cloud sync, VBA) call the same thing. */
const foreignNames: Readonly<Record<Language, Readonly<Record<string, string>>>> = {
  aadc: {
    Append: "&",
    Coalesce: "IIF",
    Concatenate: "&",
    ConvertSidToString: "StringFromSid",
    ConvertStringToGuid: "CGuid",
    DateTimeFormat: "FormatDateTime",
    Eq: "=",
    FormatDate: "FormatDateTime",
    GreaterThan: ">",
    GreaterThanOrEquals: ">=",
    LeftPad: "PadLeft",
    Length: "Len",
    LessThan: "<",
    LessThanOrEquals: "<=",
    LowerCase: "LCase",
    Not: "= False",
    NotEquals: "<>",
    Null: "NULL",
    ProperCase: "PCase",
    Random: "RandomNum",
    ReplaceString: "Replace",
    RightPad: "PadRight",
    Substring: "Mid",
    ToLower: "LCase",
    ToUpper: "UCase",
    UpperCase: "UCase",
  },
  mim: {
    CGuid: "ConvertStringToGuid",
    FormatDateTime: "DateTimeFormat",
    LCase: "LowerCase",
    PCase: "ProperCase",
    PadLeft: "LeftPad",
    PadRight: "RightPad",
    Random: "RandomNum",
    Replace: "ReplaceString",
    StringFromSid: "ConvertSidToString",
    UCase: "UpperCase",
  },
};

export type Suggestion = { readonly because: "case" | "dialect" | "similar"; readonly name: string };

/** What an unknown function name was probably meant to be. */
export function suggestFunction(name: string, language: Language): Suggestion | undefined {
  const names = [...tables[language].keys()];
  const lower = name.toLowerCase();
  const respelled = names.find((candidate) => candidate.toLowerCase() === lower);
  if (respelled !== undefined) return { because: "case", name: respelled };
  const foreign = Object.entries(foreignNames[language]).find(
    ([other]) => other.toLowerCase() === lower,
  )?.[1];
  if (foreign !== undefined) return { because: "dialect", name: foreign };
  const similar = closest(name, names);
  return similar === undefined ? undefined : { because: "similar", name: similar };
}
