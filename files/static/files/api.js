// The page to try the API: Swagger UI on the schema, with the CSRF token of the session.

const page = document.getElementById("api");

window.SwaggerUIBundle({
    domNode: page,
    url: page.dataset.schema,
    deepLinking: true,
    validatorUrl: null, // nobody else is told of the schema
    requestInterceptor(request) {
        if (new URL(request.url, location.href).origin === location.origin) {
            request.headers["X-CSRFToken"] = page.dataset.csrfToken;
        }
        return request;
    },
});
