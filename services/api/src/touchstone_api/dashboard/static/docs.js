/* global SwaggerUIBundle */
// Without `validatorUrl` the page would send its address to a validator on the internet.
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null });
