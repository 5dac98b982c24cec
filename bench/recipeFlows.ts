/** The expressions of the guest recipe, written by hand: what compiled expressions are measured against. */
import type { EvaluationContext, Result } from "../src/engine/core/expression/expression.ts";
import {
  type AttributeValue,
  type DateTime,
  dateTimeToMs,
  escapeRdnValue,
} from "../src/engine/core/values.ts";

type Read = EvaluationContext["attribute"];

function text(value: AttributeValue | undefined): string {
  return typeof value === "string" ? value : "";
}

function twoDigits(value: number): string {
  return value < 10 ? `0${value}` : String(value);
}

/** `yyyy-MM-dd HH:mm`, UTC. */
function formatted(value: AttributeValue | undefined): string {
  if (value === undefined) return "";
  const date = new Date(dateTimeToMs(value as DateTime));
  return `${date.getUTCFullYear()}-${twoDigits(date.getUTCMonth() + 1)}-${twoDigits(date.getUTCDate())} ${twoDigits(date.getUTCHours())}:${twoDigits(date.getUTCMinutes())}`;
}

function isGone(attribute: Read): boolean {
  const absence = attribute("absence");
  return absence === "softDeleted" || absence === "deleted";
}

function isPresent(value: AttributeValue | undefined): boolean {
  return value !== undefined && value !== "";
}

/** By rule and target attribute. */
export const handWritten: Readonly<Record<string, (context: EvaluationContext) => Result>> = {
  "AAD-B2B-IN accountName": ({ attribute }) => text(attribute("id")).slice(0, 20),
  "AAD-B2B-IN adminDescription": ({ attribute }) => `User_${text(attribute("id"))}`,
  "AAD-B2B-IN userPrincipalName": ({ attribute }) =>
    isGone(attribute) ? null : (attribute("userPrincipalName") ?? null),
  "AD-B2B-OUT dn": ({ attribute, parameter }) =>
    `CN=${escapeRdnValue(text(attribute("uid")))},${parameter!("GuestOU") as string}`,
  "AD-B2B-OUT sAMAccountName": ({ attribute }) => {
    const settled = attribute("settledAccountName");
    const wanted = attribute("accountName");
    return (text(settled).slice(0, 14) === text(wanted).slice(0, 14) ? settled : wanted) ?? null;
  },
  "AD-B2B-OUT userAccountControl": ({ attribute }) =>
    attribute("accountEnabled") === false ||
    attribute("externalUserState") === "PendingAcceptance" ||
    isPresent(attribute("absence"))
      ? 262658n
      : 262656n,
  "AD-B2B-OUT info": ({ attribute }) => {
    const absence = attribute("absence");
    if (isPresent(absence))
      return `Disabled: the guest is absent (${text(absence)}) since ${formatted(attribute("absentSince"))} UTC.`;
    const ours = text(attribute("accountInfo")).toLowerCase().startsWith("disabled: the guest is absent");
    return ours ? null : { flow: "IgnoreThisFlow" };
  },
};
