import { randomInt } from "node:crypto";
import { app } from "@azure/functions";
import { authLevel } from "../api/access.ts";
import { tryExpressionSchema } from "../api/requests.ts";
import { answering, body, json, Problem } from "../api/responses.ts";
import { tryExpression } from "../engine/core/expression/tryOut.ts";
import { dateTimeFromMs } from "../engine/core/values.ts";

const randomRange = 2 ** 47; // the most that randomInt takes is 2 ** 48 - 1

app.http("evaluateExpression", {
  methods: ["POST"],
  authLevel,
  route: "expressions/evaluate",
  handler: answering(async (request) => {
    const tried = tryExpression(await body(request, tryExpressionSchema), {
      now: dateTimeFromMs(Date.now()),
      random: () => randomInt(randomRange) / randomRange,
    });
    if (tried.kind === "value") return json({ value: tried.value });
    const { problems } = tried;
    throw new Problem(422, "invalid-expression", problems[0]!.message, { problems });
  }),
});
