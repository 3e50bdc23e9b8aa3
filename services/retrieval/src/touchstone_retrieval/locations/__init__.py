"""Files of web servers, hubs, buckets and uploaded archives, as a retrieval worker reads them."""
