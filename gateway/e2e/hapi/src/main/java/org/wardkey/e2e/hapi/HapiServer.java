package org.wardkey.e2e.hapi;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.provider.JpaSystemProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.rest.api.EncodingEnum;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import java.net.URI;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.springframework.context.ApplicationContext;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;

/**
 * A HAPI FHIR R4 server on a free loopback port. It prints one line, {@code HAPI http://127.0.0.1:PORT/fhir}, when it
 * can be asked, and ends when its standard input does, so that it never outlives the test that started it.
 */
public final class HapiServer {
    private HapiServer() {}

    public static void main(String[] args) throws Exception {
        var spring = new AnnotationConfigApplicationContext(HapiStorage.class);
        var jetty = new Server();
        var loopback = new ServerConnector(jetty);
        loopback.setHost("127.0.0.1");
        loopback.setPort(0);
        jetty.addConnector(loopback);

        var root = new ServletContextHandler();
        root.addServlet(new ServletHolder(new RestServlet(spring)), "/fhir/*");
        jetty.setHandler(root);
        jetty.start();
        // A first request, since HAPI finishes starting only when it answers one.
        var base = "http://127.0.0.1:" + loopback.getLocalPort() + "/fhir";
        try (var metadata = URI.create(base + "/metadata").toURL().openStream()) {
            metadata.readAllBytes();
        }
        System.out.println("HAPI " + base);
        System.out.flush();

        while (System.in.read() >= 0) {
            // Whoever started us says nothing, until it closes the pipe or dies.
        }
        jetty.stop();
        spring.close();
    }

    /** HAPI's own servlet, with every interaction that its JPA storage offers. */
    private static final class RestServlet extends RestfulServer {
        private static final long serialVersionUID = 1L;

        RestServlet(ApplicationContext spring) {
            super(spring.getBean(FhirContext.class));
            setDefaultResponseEncoding(EncodingEnum.JSON);
            registerProviders(spring.getBean(ResourceProviderFactory.class).createProviders());
            registerProvider(spring.getBean(JpaSystemProvider.class));
            // Page limits are left as HAPI ships them: clients have to live with those.
            setPagingProvider(spring.getBean(DatabaseBackedPagingProvider.class));
            setServerConformanceProvider(new JpaCapabilityStatementProvider(
                    this,
                    spring.getBean(IFhirSystemDao.class),
                    spring.getBean(JpaStorageSettings.class),
                    spring.getBean(ISearchParamRegistry.class),
                    spring.getBean(IValidationSupport.class)));
        }
    }
}
