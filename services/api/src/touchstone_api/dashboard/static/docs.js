/* global SwaggerUIBundle */
// Without `validatorUrl` the page would send its address to a validator on the internet.
const token = document.querySelector("meta[name=csrf]")?.content;
const requestInterceptor = (request) => {
  if (token) request.headers["X-CSRF-Token"] = token;
  return request;
};
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#api", validatorUrl: null, requestInterceptor });
