import { app } from "@azure/functions";
import { authLevel } from "../api/access.ts";
import { previewSchema } from "../api/requests.ts";
import { answering, body, json, Problem, rulesMaxBytes } from "../api/responses.ts";
import { engine } from "../composition.ts";
import { Previews } from "../engine/preview.ts";

const previews = new Previews(engine);

app.http("preview", {
  methods: ["POST"],
  authLevel,
  route: "preview",
  handler: answering(async (request) => {
    const { rules, ...asked } = await body(request, previewSchema, rulesMaxBytes);
    const preview = await previews.preview({ ...asked, ...(rules === undefined ? {} : { rules }) });
    if (preview === null)
      throw new Problem(
        404,
        "not-found",
        `Connector ${asked.connector} has no object ${asked.anchor}; give its id or its anchor.`,
      );
    return json(preview);
  }),
});
